"""Cookies for browsers, on request (`X-Session-Mode: cookie`) so that scripts never see a token.

All have the `__Host-` prefix: this host only, HTTPS only, path /. The CSRF cookie is the one a
page may read, to send its value back in X-CSRF-Token.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from scoreboard.kit.authn import ACCESS_COOKIE
from scoreboard.kit.tokens import LIFETIME_SECONDS
from scoreboard.users.repository import IDLE_DAYS
from scoreboard.users.service import SignedIn

REFRESH_COOKIE: Final = "__Host-sb_refresh"
CSRF_COOKIE: Final = "__Host-sb_csrf"
MODE_HEADER: Final = "x-session-mode"
_REFRESH_SECONDS: Final = IDLE_DAYS * 86_400


def wanted(request: Request) -> bool:
    """Tell whether the client asks for cookies instead of tokens in the body."""
    return request.headers.get(MODE_HEADER, "").lower() == "cookie"


def store(response: Response, signed_in: SignedIn) -> None:
    """Put a session's tokens into cookies."""
    _set(response, ACCESS_COOKIE, signed_in.access_token, LIFETIME_SECONDS)
    _set(response, REFRESH_COOKIE, signed_in.refresh_token, _REFRESH_SECONDS)
    _set(response, CSRF_COOKIE, signed_in.csrf_token, _REFRESH_SECONDS, script=True)


def clear(response: Response) -> None:
    """Remove every cookie of a session."""
    for name in (ACCESS_COOKIE, REFRESH_COOKIE, CSRF_COOKIE):
        _set(response, name, "", 0, script=name == CSRF_COOKIE)


def _set(response: Response, name: str, value: str, seconds: int, *, script: bool = False) -> None:
    response.set_cookie(
        name, value, max_age=seconds, path="/", secure=True, httponly=not script, samesite="strict"
    )
