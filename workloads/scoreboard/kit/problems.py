"""Problem documents (RFC 9457): every error a client sees has this one form.

Code raises `Problem(code, detail)`; the handlers installed by `install` write the document.
The code is the contract: clients switch on it, people read title and detail.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import redis.exceptions
import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from scoreboard.kit.settings import SettingsError

MEDIA_TYPE: Final = "application/problem+json"
TYPE_PREFIX: Final = "https://scoreboard.dev/problems/"

CATALOGUE: Final[Mapping[str, tuple[int, str]]] = {
    "invalid-request": (422, "The request is not valid"),
    "body-too-large": (413, "The request body is too large"),
    "unauthenticated": (401, "Authentication is required"),
    "token-expired": (401, "The token has expired"),
    "token-invalid": (401, "The token is not valid"),
    "session-revoked": (401, "The session was revoked"),
    "signature-missing": (401, "The request is not signed"),
    "signature-invalid": (401, "The request signature is not valid"),
    "timestamp-stale": (401, "The signature timestamp is outside the accepted window"),
    "nonce-replayed": (409, "The signature nonce was used before"),
    "csrf-invalid": (403, "The CSRF token is missing or wrong"),
    "idempotency-key-missing": (400, "An Idempotency-Key is required"),
    "idempotency-key-reused": (422, "The Idempotency-Key was used with another payload"),
    "idempotency-in-flight": (409, "A request with this Idempotency-Key is in progress"),
    "rate-limited": (429, "Too many requests"),
    "rule-violated": (422, "The change breaks a rule of the board"),
    "not-found": (404, "There is nothing here"),
    "method-not-allowed": (405, "The method is not allowed here"),
    "forbidden": (403, "This is not allowed"),
    "username-taken": (409, "The username is taken"),
    "email-taken": (409, "The e-mail address is taken"),
    "invalid-credentials": (401, "The credentials are not right"),
    "too-many-attempts": (429, "Too many attempts"),
    "unavailable": (503, "The service is not available at the moment"),
    "precondition-failed": (412, "The resource has changed"),
    "precondition-required": (428, "A precondition is required"),
    "internal-error": (500, "Something went wrong on our side"),
}
"""Code -> (HTTP status, title)."""

_BY_STATUS: Final = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
    429: "rate-limited",
    503: "unavailable",
}

CLIENT_GONE: Final = 499
"""Status under which a request is counted whose client left before the answer."""

PEER_ERRORS: Final[tuple[type[Exception], ...]] = (
    ConnectionError,
    TimeoutError,
    SettingsError,  # a Secret that is not mounted yet
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,  # the pooled connection was closed under us
    asyncpg.OperatorInterventionError,  # shutting down, starting up
    asyncpg.InsufficientResourcesError,  # too many connections, disk full
    asyncpg.ReadOnlySQLTransactionError,  # the primary moved away
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
    redis.exceptions.ClusterDownError,
)
"""What says that a peer is away for the moment rather than that we have a bug."""

log = structlog.get_logger("scoreboard.problems")


@dataclass(frozen=True)
class FieldError:
    """One field of the request that is wrong: a dotted path and a sentence."""

    field: str
    message: str


class Problem(Exception):  # noqa: N818  an answer, and not always an error of ours
    """An answer with a problem document.

    `code` is a key of CATALOGUE (KeyError otherwise, a bug). `retry_after` is in seconds and
    becomes the Retry-After header, rounded up. `extensions` are further members of the document.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        retry_after: float | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        self.status, self.title = CATALOGUE[code]
        super().__init__(f"{code}: {detail or self.title}")
        self.code = code
        self.detail = detail or self.title + "."
        self.errors = tuple(errors)
        self.extensions = dict(extensions or {})
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers.setdefault("Retry-After", str(max(1, -int(-retry_after // 1))))
        if self.status == 401:
            # RFC 9110 wants a challenge with every 401, even when the scheme was not Bearer.
            self.headers.setdefault("WWW-Authenticate", 'Bearer realm="scoreboard"')

    def document(self, instance: str = "") -> dict[str, Any]:
        """Return the problem document; `instance` is the request id."""
        body: dict[str, Any] = {
            **self.extensions,
            "type": TYPE_PREFIX + self.code,
            "code": self.code,
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "instance": instance,
        }
        if self.errors:
            body["errors"] = [{"field": e.field, "message": e.message} for e in self.errors]
        return body

    def body(self, instance: str = "") -> bytes:
        """Return the problem document as UTF-8 JSON."""
        # A message may quote a lone surrogate of the request; it must not fail the answer.
        text = json.dumps(self.document(instance), ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


def invalid(field: str, message: str) -> Problem:
    """Return an invalid-request problem about one field."""
    return Problem("invalid-request", f"{field}: {message}", errors=[FieldError(field, message)])


def response_of(problem: Problem, request_id: str = "") -> Response:
    """Return the HTTP response for a problem; problems are never cached."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(problem.body(request_id), problem.status, headers, MEDIA_TYPE)


def from_validation(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """Turn pydantic's error list into one invalid-request problem that names the fields."""
    found = [FieldError(_field_path(e.get("loc", ())), _message(e)) for e in errors[:20]]
    if not found:
        return Problem("invalid-request")
    first = found[0]
    return Problem("invalid-request", f"{first.field}: {first.message}", errors=found)


def _field_path(location: Sequence[str | int]) -> str:
    """Return a dotted path as a client names it: body fields bare, others with their place."""
    parts = [str(part)[:80] for part in location]
    if parts[:1] == ["body"]:
        # A syntax error has the offset as its second part, which is not a field.
        parts = parts[1:] if len(parts) > 1 and not parts[1].isdigit() else ["body"]
    return ".".join(parts) or "body"


def _message(error: Mapping[str, Any]) -> str:
    kind = error.get("type", "")
    if kind == "extra_forbidden":
        return "unknown field"
    if kind == "missing":
        return "required"
    if kind == "json_invalid":
        return "not valid JSON"
    # pydantic's sentence about the constraint; the rejected input itself is never repeated.
    return str(error.get("msg", "not valid")).removeprefix("Value error, ")


def from_http(error: HTTPException) -> Problem:
    """Turn a framework exception (unknown route, wrong method, …) into a problem."""
    if error.status_code == 400:  # FastAPI's answer to bytes it cannot decode
        return invalid("body", "cannot be read")
    code = _BY_STATUS.get(error.status_code)
    if code is None:
        code = "internal-error" if error.status_code >= 500 else "invalid-request"
    detail = error.detail if code == "invalid-request" else ""
    return Problem(code, detail, headers=error.headers)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""

    async def on_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        return response_of(error, _request_id(request))

    async def on_validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return response_of(from_validation(error.errors()), _request_id(request))

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if isinstance(error.__cause__, ClientDisconnect):  # FastAPI's body parser makes it a 400
            return answer_to(error.__cause__, _request_id(request))
        return response_of(from_http(error), _request_id(request))

    async def on_any(request: Request, error: Exception) -> Response:
        if request.scope["type"] != "http":
            raise error  # a socket that is open takes no response
        return answer_to(error, _request_id(request))

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(RequestValidationError, on_validation)
    app.add_exception_handler(HTTPException, on_http)
    # By type: what only the handler of Exception answers, the framework raises again all the same.
    for kind in (*PEER_ERRORS, ClientDisconnect):
        app.add_exception_handler(kind, on_any)
    app.add_exception_handler(Exception, on_any)


def answer_to(error: Exception, request_id: str = "") -> Response:
    """Return the response to what nobody caught, and log it when it is worth a line."""
    if isinstance(error, ClientDisconnect):
        return Response(status_code=CLIENT_GONE)  # nobody reads it, but it is counted
    return response_of(from_exception(error), request_id)


def from_exception(error: BaseException) -> Problem:
    """Turn what nobody caught into a problem; nothing of the exception's text reaches the client.

    An unreachable peer (refused, reset, timed out, failing over) is `unavailable` and worth a
    retry; anything else is our bug and is logged with its traceback.
    """
    if isinstance(error, Problem):
        return error
    if isinstance(error, PEER_ERRORS):
        log.warning("peer unreachable", error=repr(error))
        return Problem("unavailable", retry_after=1)
    log.error("unhandled exception", exc_info=error)
    return Problem("internal-error")


def _request_id(request: Request) -> str:
    return str(request.scope.get("request_id", ""))
