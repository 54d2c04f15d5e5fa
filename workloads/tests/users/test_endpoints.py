import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from scoreboard.kit import authn, problems, signing
from scoreboard.kit.problems import Problem
from scoreboard.kit.settings import Settings
from scoreboard.kit.tokens import Claims
from scoreboard.users import cookies, refresh
from scoreboard.users.endpoints import entity_tag, expected_version, router
from scoreboard.users.repository import User
from scoreboard.users.service import SignedIn

MASTER = bytes(32)
ALICE, BOB, SESSION = UUID(int=1), UUID(int=2), UUID(int=3)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKEN = refresh.mint(MASTER, ALICE, SESSION)


def user(user_id: UUID) -> User:
    return User(
        user_id, "alice", "alice@example.com", "Alice", None, "$argon2id$", ["player"], "active",
        4, NOW, NOW,
    )  # fmt: skip


class Service:
    """Records what the endpoints ask for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def _signed_in(self) -> SignedIn:
        csrf = signing.csrf_token(MASTER, SESSION)
        return SignedIn(user(ALICE), SESSION, "access", TOKEN.text, "key", csrf)

    async def login(self, body: object, device: object) -> SignedIn:
        self.asked.append(device)
        return self._signed_in()

    async def refresh(self, token: object) -> SignedIn:
        self.asked.append(token)
        return self._signed_in()

    async def profile(self, user_id: UUID, *, fresh: bool) -> User:
        self.asked.append(fresh)
        return user(user_id)

    async def update_profile(self, user_id: UUID, update: object, version: int | None) -> User:
        self.asked.append(version)
        return user(user_id)

    async def revoke(self, *asked: object) -> None:
        self.asked.append(asked)


class AsAlice:
    async def __call__(self, request: object) -> Claims:
        return Claims(ALICE, SESSION, "alice", ("player",), 0, 0, "")


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(service: Service) -> httpx.AsyncClient:
    app = FastAPI()
    problems.install(app)
    app.include_router(router)
    app.state.settings = Settings("user")
    app.state.resources = SimpleNamespace(
        service=service,
        authenticator=AsAlice(),
        master_key=lambda: MASTER,
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://user")


LOGIN = {"username": "alice", "password": "long enough"}


async def test_login_answers_with_tokens(client: httpx.AsyncClient, service: Service) -> None:
    headers = {"x-forwarded-for": "1.1.1.1, 198.18.0.9", "user-agent": "game/1"}
    response = await client.post("/api/v1/auth/login", json=LOGIN, headers=headers)
    assert response.json() == {
        "access_token": "access",
        "token_type": "Bearer",
        "expires_in": 600,
        "refresh_token": TOKEN.text,
        "session_id": str(SESSION),
        "signing_key": "key",
        "user": {"id": str(ALICE), "username": "alice", "display_name": "Alice"},
    }
    assert response.headers["cache-control"] == "no-store"
    assert "set-cookie" not in response.headers
    assert (service.asked[0].address, service.asked[0].user_agent) == ("198.18.0.9", "game/1")


async def test_login_for_browsers_keeps_tokens_out_of_the_body(client: httpx.AsyncClient) -> None:
    headers = {"X-Session-Mode": "cookie"}
    response = await client.post("/api/v1/auth/login", json=LOGIN, headers=headers)
    assert not {"access_token", "refresh_token"} & set(response.json())
    assert response.json()["csrf_token"] == signing.csrf_token(MASTER, SESSION)
    set_cookies = response.headers.get_list("set-cookie")
    assert len(set_cookies) == 3
    for line in set_cookies:
        assert line.startswith("__Host-")
        assert {"Path=/", "Secure", "SameSite=strict"} <= set(line.split("; "))
        assert ("HttpOnly" in line) == (cookies.CSRF_COOKIE not in line)


async def test_refresh_by_cookie_needs_the_csrf_token(
    client: httpx.AsyncClient, service: Service
) -> None:
    headers = {"cookie": f"{cookies.REFRESH_COOKIE}={TOKEN.text}"}
    response = await client.post("/api/v1/auth/refresh", headers=headers)
    assert (response.status_code, response.json()["code"]) == (403, "csrf-invalid")
    assert service.asked == []
    headers[authn.CSRF_HEADER] = signing.csrf_token(MASTER, SESSION)
    response = await client.post("/api/v1/auth/refresh", headers=headers)
    assert response.status_code == 200
    assert service.asked == [TOKEN]
    assert "refresh_token" not in response.json()


async def test_refresh_without_any_token(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/auth/refresh")
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "refresh_token"
    response = await client.post("/api/v1/auth/refresh", json={"refresh_token": "junk"})
    assert (response.status_code, response.json()["code"]) == (401, "token-invalid")


async def test_others_see_the_public_profile_only(
    client: httpx.AsyncClient, service: Service
) -> None:
    response = await client.get(f"/api/v1/users/{BOB}")
    expected = {"id", "username", "display_name", "country", "created_at"}
    assert set(response.json()) == expected
    assert "etag" not in response.headers
    own = await client.get(f"/api/v1/users/{ALICE}")
    assert set(own.json()) == expected | {"email", "roles", "status", "version", "updated_at"}
    assert own.headers["etag"] == '"v4"'
    assert service.asked == [False, True], "one's own profile is read from the primary"
    assert "argon2" not in own.text + response.text


async def test_an_unchanged_profile_is_not_sent_again(client: httpx.AsyncClient) -> None:
    headers = {"if-none-match": '"v3", W/"v4"'}
    response = await client.get(f"/api/v1/users/{ALICE}", headers=headers)
    assert (response.status_code, response.content) == (304, b"")


async def test_a_profile_is_changed_by_its_owner_with_its_etag(
    client: httpx.AsyncClient, service: Service
) -> None:
    body = {"display_name": "Al"}
    foreign = await client.put(f"/api/v1/users/{BOB}", json=body, headers={"if-match": "*"})
    assert foreign.status_code == 403
    bare = await client.put(f"/api/v1/users/{ALICE}", json=body)
    assert (bare.status_code, bare.json()["code"]) == (428, "precondition-required")
    assert service.asked == []
    done = await client.put(f"/api/v1/users/{ALICE}", json=body, headers={"if-match": '"v4"'})
    assert (done.status_code, done.headers["etag"]) == (200, '"v4"')
    assert service.asked == [4]


async def test_logout_ends_the_session_and_clears_the_cookies(
    client: httpx.AsyncClient, service: Service
) -> None:
    response = await client.post("/api/v1/auth/logout")
    assert response.status_code == 204
    assert service.asked == [(ALICE, SESSION, "logout")]
    assert all("Max-Age=0" in line for line in response.headers.get_list("set-cookie"))


async def test_unknown_fields_are_named(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/auth/login", json=LOGIN | {"otp": "1"})
    assert json.loads(response.text)["errors"] == [{"field": "otp", "message": "unknown field"}]


@pytest.mark.parametrize("tag", ['W/"v4"', "v4", '"v4", "v5"', '"other"', '"v"', '"v-1"', ""])
def test_tags_this_resource_never_had(tag: str) -> None:
    with pytest.raises(Problem) as caught:
        expected_version(tag)
    assert caught.value.code == "precondition-failed"


def test_tags_this_resource_may_have() -> None:
    assert expected_version(entity_tag(12)) == 12
    assert expected_version(" * ") is None
