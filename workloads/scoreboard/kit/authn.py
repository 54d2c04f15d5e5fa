"""Who is asking: the FastAPI dependency `Caller`, for routes that need a signed-in user.

A token comes as `Authorization: Bearer`, or in the cookie `__Host-sb_access` for browsers. A
cookie is sent by the browser on its own, so a cookie request that changes something must also
carry `X-CSRF-Token`, which only a page of our own origin can read.
"""

import hmac
from collections.abc import Callable
from typing import Annotated, Final, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection, Request

from scoreboard.kit import signing
from scoreboard.kit.problems import Problem
from scoreboard.kit.sessions import SessionGate
from scoreboard.kit.tokens import Claims, TokenVerifier

ACCESS_COOKIE: Final = "__Host-sb_access"
CSRF_HEADER: Final = "x-csrf-token"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Authenticator:
    """Checks token, session and CSRF token of a request.

    `master_key` returns the request-signing key; without one (the notification service) only
    safe methods are open to cookies.
    """

    def __init__(
        self,
        verifier: TokenVerifier,
        gate: SessionGate,
        master_key: Callable[[], bytes] | None = None,
    ) -> None:
        self.verifier = verifier
        self.gate = gate
        self._master_key = master_key

    async def __call__(self, request: HTTPConnection) -> Claims:
        """Return the claims of the caller.

        Raises Problem unauthenticated, token-expired, token-invalid, session-revoked or
        csrf-invalid, or a PEER_ERROR when the session could not be checked.
        """
        token, from_cookie = presented_token(request)
        claims = self.verifier.verify(token)
        await self.gate.require_active(claims.user_id, claims.session_id)
        method = request.scope.get("method", "GET")
        if from_cookie and method not in SAFE_METHODS:
            if self._master_key is None:
                raise Problem("csrf-invalid", "Cookies cannot authenticate this request.")
            expected = signing.csrf_token(self._master_key(), claims.session_id)
            require_csrf(request.headers.get(CSRF_HEADER, ""), expected)
        return claims


def presented_token(request: HTTPConnection) -> tuple[str, bool]:
    """Return the access token a request presents and whether a cookie carried it.

    Raises Problem unauthenticated when there is none.
    """
    header = request.headers.get("authorization")
    if header is not None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Problem("unauthenticated", "Send Authorization: Bearer <access token>.")
        return token.strip(), False
    cookie = request.cookies.get(ACCESS_COOKIE)
    if cookie:
        return cookie, True
    raise Problem("unauthenticated")


def require_csrf(presented: str, expected: str) -> None:
    """Raise Problem csrf-invalid unless the presented CSRF token is the session's."""
    if not hmac.compare_digest(presented.encode("utf-8", "replace"), expected.encode()):
        raise Problem("csrf-invalid", "Send the CSRF token in X-CSRF-Token.")


class HasAuthenticator(Protocol):
    """What `app.state.resources` of a service must offer."""

    authenticator: Authenticator


async def _caller(request: Request) -> Claims:
    resources: HasAuthenticator = request.app.state.resources
    return await resources.authenticator(request)


Caller = Annotated[Claims, Depends(_caller)]
"""Parameter type of a route that needs a signed-in user."""
