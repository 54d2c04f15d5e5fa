"""Shapes that cross the borders of the score service."""

import asyncio
import enum
import hashlib
from typing import Annotated, Final
from uuid import UUID

import msgspec

from scoreboard.kit.problems import FieldError, Problem

ACTION_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,49}\Z"
"""Nothing that JSON would have to escape; \\Z, because $ lets a final line feed through."""
INT32: Final = 2**31 - 1


class ScoreUpdate(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Body of POST /api/v1/scores."""

    action_type: Annotated[str, msgspec.Meta(pattern=ACTION_PATTERN)]
    change: Annotated[int, msgspec.Meta(ge=-INT32, le=INT32)]

    def payload_hash(self) -> bytes:
        """Return what an idempotency key is tied to: the meaning, not the spelling, of the body."""
        return hashlib.sha256(f"{self.action_type}\0{self.change}".encode()).digest()


_DECODER: Final = msgspec.json.Decoder(ScoreUpdate)


def parse_update(body: bytes) -> ScoreUpdate:
    """Parse a score update.

    Raises Problem invalid-request that names the field, unknown ones included.
    """
    try:
        return _DECODER.decode(body)
    except msgspec.ValidationError as error:
        field, message = _explain(str(error))
    except (msgspec.DecodeError, UnicodeDecodeError):
        field, message = "body", "not valid JSON"
    raise Problem("invalid-request", f"{field}: {message}", errors=[FieldError(field, message)])


def _explain(text: str) -> tuple[str, str]:
    """Turn msgspec's sentence into a field and a message."""
    message, _, place = text.partition(" - at `$")
    field = place.rstrip("`").lstrip(".") or "body"
    for start, sentence in (
        ("Object contains unknown field `", "unknown field"),
        ("Object missing required field `", "required"),
    ):
        if message.startswith(start):
            return message[len(start) :].rstrip("`"), sentence
    if field == "action_type" and "regex" in message:
        return field, "1 to 50 letters, digits, or _ . : -, the first a letter or digit"
    return field, message[:1].lower() + message[1:]


class Outcome(enum.StrEnum):
    """What the statement decided about one row; the values are written by the SQL."""

    ACCEPTED = "accepted"
    REPLAY = "replay"  # the key and payload are known: the first answer again
    REUSED = "reused"  # the key is known with another payload
    NO_USER = "no-user"
    SUSPENDED = "suspended"
    LIMITED = "limited"
    STALE = "stale"  # our idea of the score is old; the true one comes along
    HELD = "held"  # acceptable, but another row of the batch was not: nothing was written
    RACED = "raced"  # another replica wrote this player's score at the same moment


class Job(msgspec.Struct, eq=False):
    """One write on its way to the database. Times are event-loop seconds."""

    user_id: UUID
    bucket: int
    session_id: UUID
    ip_address: str | None
    key: str
    payload_hash: bytes
    update: ScoreUpdate
    event_id: UUID
    deadline: float
    answer: "asyncio.Future[Answer]"


class Prepared(msgspec.Struct, frozen=True):
    """A job with what is predicted for it; the statement accepts it only if that holds."""

    job: Job
    expected_version: int
    new_score: int
    keeps_place: bool
    rank: int
    previous_rank: int | None


class Result(msgspec.Struct, frozen=True):
    """What the statement says about one row."""

    outcome: Outcome
    response: bytes | None
    """The stored answer, byte for byte: ours if accepted, the first one's on a replay."""
    score: int | None
    reached_us: int | None
    version: int | None
    username: str
    display_name: str
    user_version: int
    """The version of the names."""
    remaining: int
    """Updates the player has left in this minute."""
    retry_after: float
    """Seconds until the next update can be accepted."""


class Answer(msgspec.Struct, frozen=True):
    """What the caller of a write gets."""

    body: bytes
    replayed: bool
    remaining: int | None
