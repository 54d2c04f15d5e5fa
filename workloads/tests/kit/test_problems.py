import json
from collections.abc import AsyncIterator
from unittest.mock import Mock

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message

from scoreboard.kit import problems
from scoreboard.kit.health import Health
from scoreboard.kit.limits import BodyLimit, limit_of
from scoreboard.kit.problems import CATALOGUE, FieldError, Problem
from scoreboard.kit.telemetry import Telemetry, request_id_of, route_of


class Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    change: int


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    problems.install(app)

    @app.post("/api/v1/scores")
    async def post(body: Body) -> Body:
        return body

    @app.get("/api/v1/users/{user_id}")
    async def get(user_id: str) -> str:
        raise {"away": ConnectionRefusedError("10.0.0.1"), "bug": KeyError("secret")}[user_id]

    app.add_middleware(BodyLimit)
    app.add_middleware(Telemetry, health=Health())
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://user") as http:
        yield http


def code_of(response: httpx.Response) -> str:
    assert response.headers["content-type"] == problems.MEDIA_TYPE
    document = response.json()
    assert document["status"] == response.status_code
    assert document["instance"] == response.headers["x-request-id"]
    return str(document["code"])


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"change": 1, "extra": 2}, "extra"),
        ({}, "change"),
        ({"change": "x"}, "change"),
        ("{", "body"),
        ("[]", "body"),
        (b"\xff", "body"),
    ],
)
async def test_validation_names_the_field(
    client: httpx.AsyncClient, content: object, field: str
) -> None:
    body = content if isinstance(content, str | bytes) else json.dumps(content)
    headers = {"content-type": "application/json"}
    response = await client.post("/api/v1/scores", content=body, headers=headers)
    assert response.status_code == 422
    assert code_of(response) == "invalid-request"
    assert response.json()["errors"][0]["field"] == field


async def test_the_value_that_was_refused_is_not_repeated(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/v1/scores", json={"change": "hunter2-password"})
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not-found"),
        ("DELETE", "/api/v1/scores", 405, "method-not-allowed"),
        ("GET", "/api/v1/users/away", 503, "unavailable"),
        ("GET", "/api/v1/users/bug", 500, "internal-error"),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, code_of(response)) == (status, code)
    assert "secret" not in response.text
    assert "10.0.0.1" not in response.text


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_long_body_is_refused(client: httpx.AsyncClient, chunked: bool) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 1024

    content = chunks() if chunked else b" " * 17 * 1024
    headers = {"content-type": "application/json"}
    response = await client.post("/api/v1/scores", content=content, headers=headers)
    assert (response.status_code, code_of(response)) == (413, "body-too-large")


async def left(app: FastAPI, path: str) -> int:
    """Post half a body and leave; return the status of the answer nobody reads."""
    incoming: list[Message] = [{"type": "http.request", "body": b"{", "more_body": True}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "headers": headers,
        "query_string": b"",
    }
    await app(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize("path", ["/parsed", "/raw"])
async def test_a_client_that_leaves_in_mid_body_is_no_error_of_ours(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = FastAPI()
    problems.install(app)

    @app.post("/parsed")
    async def parsed(body: Body) -> Body:
        return body

    async def raw(request: Request) -> Response:
        return Response(await request.body())

    app.add_route("/raw", raw, methods=["POST"])
    app.add_middleware(BodyLimit)
    app.add_middleware(Telemetry, health=Health())
    log = Mock()
    monkeypatch.setattr(problems, "log", log)
    assert await left(app, path) == 499
    assert log.mock_calls == []


@pytest.mark.parametrize("kind", problems.PEER_ERRORS)
async def test_an_unreachable_peer_is_not_raised_again(kind: type[Exception]) -> None:
    app = FastAPI()
    problems.install(app)  # without the telemetry, which would hide it

    @app.get("/")
    async def get() -> None:
        raise kind("10.0.0.1")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        response = await http.get("/")
    assert response.status_code == 503
    assert response.headers["Retry-After"] == "1"


async def test_a_failure_after_the_whole_answer_is_logged_and_not_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = FastAPI()
    problems.install(app)

    def later() -> None:
        raise KeyError

    async def get(request: Request) -> Response:
        return Response(b"done", background=BackgroundTask(later))

    app.add_route("/", get)
    app.add_middleware(Telemetry, health=Health())
    log = Mock()
    monkeypatch.setattr(problems, "log", log)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        response = await http.get("/")
    assert (response.status_code, response.text) == (200, "done")
    assert len(log.error.mock_calls) == 1


async def test_half_an_answer_is_cut() -> None:
    app = FastAPI()
    problems.install(app)

    async def pieces() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError

    async def get(request: Request) -> Response:
        return StreamingResponse(pieces())

    app.add_route("/", get)
    app.add_middleware(Telemetry, health=Health())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as http:
        with pytest.raises(KeyError):
            await http.get("/")


def test_limits_by_path() -> None:
    assert limit_of("/api/v1/auth/login") == limit_of("/api/v1/scores") == 16 * 1024
    assert limit_of("/api/v1/users/1") == 64 * 1024


@given(st.sampled_from(sorted(CATALOGUE)), st.text(), st.text(), st.floats(0, 1e6))
def test_any_problem_can_be_written(code: str, detail: str, field: str, after: float) -> None:
    problem = Problem(code, detail, errors=[FieldError(field, detail)], retry_after=after)
    document = json.loads(problem.body("id"))
    assert document["type"].endswith("/" + code)
    assert document["status"] == CATALOGUE[code][0]
    assert document["detail"]
    assert int(problem.headers["Retry-After"]) >= max(1, after)
    assert ("WWW-Authenticate" in problem.headers) == (problem.status == 401)


def test_extensions_cannot_replace_the_standard_members() -> None:
    document = Problem("not-found", extensions={"status": 200, "limit": 10}).document()
    assert (document["status"], document["limit"]) == (404, 10)


def test_unknown_framework_errors_keep_their_class() -> None:
    assert problems.from_http(HTTPException(418)).code == "invalid-request"
    assert problems.from_http(HTTPException(502)).code == "internal-error"


def test_the_request_id_is_taken_over_only_when_well_formed() -> None:
    assert request_id_of([(b"x-request-id", b"abc-1")]) == "abc-1"
    for bad in (b"", b"a b", b"x" * 129, b"new\nline"):
        assert request_id_of([(b"x-request-id", bad)]) not in ("", bad.decode())


@given(st.uuids(), st.uuids())
def test_metrics_count_by_template_and_not_by_id(first: object, second: object) -> None:
    scopes = [
        {"path": f"/api/v1/users/{key}/score", "path_params": {"id": str(key)}, "route": object()}
        for key in (first, second)
    ]
    assert {route_of(scope) for scope in scopes} == {"/api/v1/users/{id}/score"}
    assert route_of({"path": "/x"}) == "unmatched"
