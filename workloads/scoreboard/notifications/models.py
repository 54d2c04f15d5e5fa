"""Messages of the WebSocket protocol, and its close codes."""

import enum
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec

MAX_TOP: Final = 100
MAX_USERS: Final = 100
SUBPROTOCOL: Final = "scoreboard.v1"

_Id = Annotated[str, msgspec.Meta(max_length=64)]


class Close(enum.IntEnum):
    """Close codes. 4000-4499: do not come back the same way. 4500-4999: try again later."""

    BAD_MESSAGE = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN_ORIGIN = 4403
    SESSION_REVOKED = 4410
    TOO_MANY = 4429  # messages, or sockets of one user
    GOING_AWAY = 4503
    TOO_SLOW = 4508


class Subscribe(msgspec.Struct, tag="subscribe", forbid_unknown_fields=True, frozen=True):
    """Start one channel; subscribing again replaces what was asked before."""

    channel: Literal["leaderboard", "rank", "users"]
    id: _Id | None = None
    top: Annotated[int, msgspec.Meta(ge=1, le=MAX_TOP)] = 10
    users: Annotated[list[UUID], msgspec.Meta(max_length=MAX_USERS)] = []


class Unsubscribe(msgspec.Struct, tag="unsubscribe", forbid_unknown_fields=True, frozen=True):
    """End one channel."""

    channel: Literal["leaderboard", "rank", "users"]
    id: _Id | None = None


class Ping(msgspec.Struct, tag="ping", forbid_unknown_fields=True, frozen=True):
    """Ask for a pong, for clients that cannot send WebSocket pings (browsers)."""

    id: _Id | None = None


ClientMessage = Subscribe | Unsubscribe | Ping
