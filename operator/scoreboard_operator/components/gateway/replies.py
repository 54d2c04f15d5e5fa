"""The gateway's own answers as problem documents (RFC 9457), in the form the services use.

Envoy writes an answer itself when a request is refused or no service can be asked. Each such
answer is matched, first match wins, by status and by Envoy's response code details, which tell
a missing token from an expired one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PROBLEM_PREFIX = "https://scoreboard.dev/problems/"
MEDIA_TYPE = "application/problem+json"
_CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
_JWT = "response.code_details.startsWith('jwt_authn_access_denied')"
_CHALLENGE = 'Bearer realm="scoreboard"'


@dataclass(frozen=True)
class Reply:
    """One kind of answer.

    ``when`` is a CEL expression over Envoy's response attributes; ``status`` is what the client
    gets, whatever Envoy had chosen; ``headers`` replace headers of the same name.
    """

    when: str
    status: int
    code: str
    title: str
    detail: str
    headers: tuple[tuple[str, str], ...] = ()


def _details(part: str) -> str:
    return f"{_JWT} && response.code_details.contains('{part}')"


REPLIES: tuple[Reply, ...] = (
    Reply(
        # The keys could not be had: that is our trouble, and no fault of the token.
        _details("Jwks_remote_fetch"),
        503,
        "unavailable",
        "The service is not available at the moment",
        "The keys that tokens are verified with cannot be read yet; try again shortly.",
        (("retry-after", "1"),),
    ),
    Reply(
        _details("Jwt_is_missing"),
        401,
        "unauthenticated",
        "Authentication is required",
        "Send an access token as Authorization: Bearer.",
        (("www-authenticate", _CHALLENGE),),
    ),
    Reply(
        _details("Jwt_is_expired"),
        401,
        "token-expired",
        "The token has expired",
        "The access token has expired; refresh it.",
        (("www-authenticate", f'{_CHALLENGE}, error="invalid_token"'),),
    ),
    Reply(
        # Envoy answers 403 for a foreign audience; to the client it is a token like any other.
        _JWT,
        401,
        "token-invalid",
        "The token is not valid",
        "The access token is malformed, from another issuer or not signed by this scoreboard.",
        (("www-authenticate", f'{_CHALLENGE}, error="invalid_token"'),),
    ),
    Reply(
        "response.code == 404",
        404,
        "not-found",
        "There is nothing here",
        "No resource has this path.",
    ),
    Reply(
        "response.code == 413",
        413,
        "body-too-large",
        "The request body is too large",
        "The request body is larger than this path accepts.",
    ),
    Reply(
        "response.code == 429",
        429,
        "rate-limited",
        "Too many requests",
        "This address sends more requests than the gateway accepts; slow down.",
        (("retry-after", "1"),),
    ),
    Reply(
        "response.code == 504",
        504,
        "timeout",
        "The answer did not come in time",
        "The service did not answer in time; whether it acted on the request is not known.",
    ),
    Reply(
        # 502 is how Envoy calls a broken upstream connection; clients treat it like 503.
        "response.code == 503 || response.code == 502",
        503,
        "unavailable",
        "The service is not available at the moment",
        "No healthy instance of the service can be reached; try again shortly.",
        (("retry-after", "1"),),
    ),
    Reply(
        "response.code == 408",
        408,
        "request-timeout",
        "The request did not arrive in time",
        "The whole request must arrive within ten seconds.",
    ),
    Reply(
        "response.code == 431",
        431,
        "headers-too-large",
        "The request headers are too large",
        "The request headers are larger than the gateway accepts.",
    ),
    Reply(
        "response.code >= 500",
        500,
        "internal-error",
        "Something went wrong on our side",
        "The gateway could not process the request.",
    ),
)

_OTHER = Reply(
    "true",
    400,
    "bad-request",
    "The request is not valid",
    "The request is not valid HTTP or its path is not acceptable.",
)


def problem(reply: Reply) -> dict[str, Any]:
    """Body of an answer; Envoy serialises it, so values that come from outside are escaped."""
    return {
        "type": PROBLEM_PREFIX + reply.code,
        "code": reply.code,
        "title": reply.title,
        "status": reply.status,
        "detail": reply.detail,
        "instance": "%REQ(X-REQUEST-ID)%",
    }


def _format(reply: Reply) -> dict[str, Any]:
    return {"json_format": problem(reply), "content_type": MEDIA_TYPE}


def _mapper(reply: Reply) -> dict[str, Any]:
    headers = (*reply.headers, ("cache-control", "no-store"))
    return {
        "filter": {
            "extension_filter": {
                "name": "envoy.access_loggers.extension_filters.cel",
                "typed_config": {"@type": _CEL, "expression": reply.when},
            }
        },
        "status_code": reply.status,
        "headers_to_add": [
            {
                "header": {"key": key, "value": value},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
            for key, value in headers
        ],
        "body_format_override": _format(reply),
    }


def local_replies() -> dict[str, Any]:
    """``local_reply_config`` of the HTTPS listener."""
    # 426, 417 and their like keep their own status: only the document is common to them.
    other = _format(_OTHER)
    other["json_format"] |= {"status": "%RESPONSE_CODE%"}
    return {"mappers": [_mapper(reply) for reply in REPLIES], "body_format": other}
