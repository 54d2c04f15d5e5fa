"""Limit of the request body, as an ASGI middleware.

The gateway has the same limits; this one holds for what comes around it, and for bodies sent in
chunks without a length.
"""

from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scoreboard.kit import problems

DEFAULT_BYTES: Final = 64 * 1024
BY_PREFIX: Final[Mapping[str, int]] = {
    "/api/v1/scores": 16 * 1024,
    "/api/v1/auth/": 16 * 1024,
}
"""Longest body by path prefix, in bytes; DEFAULT_BYTES elsewhere."""


def limit_of(path: str) -> int:
    """Return the longest body accepted at a path, in bytes."""
    return next((n for prefix, n in BY_PREFIX.items() if path.startswith(prefix)), DEFAULT_BYTES)


class BodyLimit:
    """Answers 413 body-too-large, from Content-Length when there is one, else while reading."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = limit_of(scope["path"])
        declared = next((v for k, v in scope["headers"] if k == b"content-length"), b"0")
        if declared.isdigit() and int(declared) > limit:
            problem = problems.Problem("body-too-large", f"At most {limit} bytes are accepted.")
            # The unread body makes the connection useless for another request.
            problem.headers["Connection"] = "close"
            answer = problems.response_of(problem, scope.get("request_id", ""))
            await answer(scope, receive, send)
            return
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                # FastAPI lets only this kind of exception through its body parser.
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)
