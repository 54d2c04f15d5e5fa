import time
import uuid

import pytest
from starlette.requests import Request

from scoreboard.kit import signing
from scoreboard.kit.authn import ACCESS_COOKIE, Authenticator
from scoreboard.kit.problems import Problem
from scoreboard.kit.tokens import TokenVerifier, issue

from .test_sessions import World
from .test_tokens import NEW, Source, jwks

MASTER = bytes(32)
USER, SESSION = uuid.UUID(int=1), uuid.UUID(int=2)
KEYS = jwks(NEW)
TOKEN = issue(KEYS, USER, SESSION, "alice", [], now=time.time())
CSRF = signing.csrf_token(MASTER, SESSION)


def request(method: str, **headers: str) -> Request:
    raw = [(k.replace("_", "-").encode(), v.encode()) for k, v in headers.items()]
    return Request({"type": "http", "method": method, "headers": raw, "path": "/"})


async def outcome(asked: Request, *, master: bool = True, world: World | None = None) -> str:
    gate = (world or World()).gate()
    key = (lambda: MASTER) if master else None
    try:
        claims = await Authenticator(TokenVerifier(Source(KEYS)), gate, key)(asked)
    except Problem as problem:
        return problem.code
    return str(claims.user_id == USER)


async def test_bearer_tokens_need_no_csrf_token() -> None:
    assert await outcome(request("POST", authorization=f"Bearer {TOKEN}")) == "True"
    assert await outcome(request("POST", authorization=f"bearer  {TOKEN}")) == "True"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc"])
async def test_a_broken_header_is_not_saved_by_a_cookie(header: str) -> None:
    asked = request("GET", authorization=header, cookie=f"{ACCESS_COOKIE}={TOKEN}")
    assert await outcome(asked) == "unauthenticated"


async def test_cookies_may_read_and_need_the_csrf_token_to_write() -> None:
    cookie = f"{ACCESS_COOKIE}={TOKEN}"
    assert await outcome(request("GET", cookie=cookie)) == "True"
    assert await outcome(request("DELETE", cookie=cookie)) == "csrf-invalid"
    other = signing.csrf_token(MASTER, uuid.uuid4())
    assert await outcome(request("PUT", cookie=cookie, x_csrf_token=other)) == "csrf-invalid"
    assert await outcome(request("PUT", cookie=cookie, x_csrf_token=CSRF)) == "True"


async def test_without_the_master_key_cookies_cannot_write() -> None:
    asked = request("PUT", cookie=f"{ACCESS_COOKIE}={TOKEN}", x_csrf_token=CSRF)
    assert await outcome(asked, master=False) == "csrf-invalid"


async def test_a_valid_token_of_a_revoked_session_is_refused() -> None:
    world = World()
    world.row = False
    asked = request("GET", authorization=f"Bearer {TOKEN}")
    assert await outcome(asked, world=world) == "session-revoked"
