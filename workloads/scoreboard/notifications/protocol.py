"""Frames of the WebSocket protocol: text in, text out (pure).

A board frame is encoded once per tick and board size, whoever gets it: what differs between
clients (snapshot or update, the id of the request) is a short prefix.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec

from scoreboard.kit.ranking import Ranked, Ranking, entry_of, timestamp
from scoreboard.notifications.models import SUBPROTOCOL, ClientMessage

MAX_MESSAGE_CHARS: Final = 8192
_DECODER: Final[msgspec.json.Decoder[ClientMessage]] = msgspec.json.Decoder(ClientMessage)
_TOKEN_PREFIX: Final = "bearer."  # noqa: S105  a marker in Sec-WebSocket-Protocol, not a secret


class BadMessage(ValueError):  # noqa: N818  the client's, not ours
    """A client message that is not of the protocol; its text is safe to send back."""


def parse(text: str) -> ClientMessage:
    """Parse a client's message. Raises BadMessage with a sentence that names the field."""
    if len(text) > MAX_MESSAGE_CHARS:
        raise BadMessage("the message is too long")
    try:
        return _DECODER.decode(text)
    except msgspec.ValidationError as error:
        raise BadMessage(str(error)) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise BadMessage("not valid JSON") from error


def token_in(subprotocols: Sequence[str]) -> str | None:
    """Return the token among the offered subprotocols ("scoreboard.v1, bearer.<token>")."""
    if SUBPROTOCOL not in subprotocols:
        return None
    for offered in subprotocols:
        if offered.startswith(_TOKEN_PREFIX):
            return offered[len(_TOKEN_PREFIX) :]
    return None


def text_of(message: Any) -> str:
    """Return a message as JSON text."""
    return msgspec.json.encode(message).decode()


def board_tail(epoch: str, offset: int, top: int, total: int, rows: Iterable[Ranked]) -> str:
    """Return the part of a board frame that is the same for every client."""
    entries = msgspec.json.encode([entry_of(row) for row in rows]).decode()
    return (
        f'"channel":"leaderboard","top":{top},"epoch":"{epoch}","offset":{offset},'
        f'"total":{total},"entries":{entries}}}'
    )


def framed(kind: str, tail: str, request_id: str | None = None) -> str:
    """Return a frame of a tail: its type, and the id of the request that it answers."""
    if request_id is None:
        return f'{{"type":"{kind}",{tail}'
    return f'{{"type":"{kind}","id":{text_of(request_id)},{tail}'


def rank_frame(ranking: Ranking, user_id: UUID, epoch: str, offset: int) -> str:
    """Return a player's own rank; rank, score and version are null without a score."""
    entry = ranking.entry(user_id)
    return text_of(
        {
            "type": "rank",
            "epoch": epoch,
            "offset": offset,
            "user_id": str(user_id),
            "rank": ranking.rank(user_id) if entry else None,
            "score": entry.score if entry else None,
            "version": entry.version if entry else None,
            "reached_at": timestamp(entry.reached_us) if entry else None,
        }
    )


def users_tail(ranking: Ranking, users: Sequence[UUID], epoch: str, offset: int) -> str:
    """Return the part of a users frame after its type; players without a score are left out."""
    entries = []
    for user_id in users:
        rank = ranking.rank(user_id)
        entry = ranking.entry(user_id)
        if rank is not None and entry is not None:
            entries.append(entry_of(Ranked(rank, entry)))
    body = msgspec.json.encode(entries).decode()
    return f'"channel":"users","epoch":"{epoch}","offset":{offset},"entries":{body}}}'


def error_frame(code: str, message: str, request_id: str | None = None) -> str:
    """Return an error; the connection goes on unless a close follows."""
    document: dict[str, Any] = {"type": "error", "code": code, "message": message}
    if request_id is not None:
        document["id"] = request_id
    return text_of(document)


def stale_frame(stale: bool) -> str:
    """Return the announcement that events stopped, or that they flow again."""
    return text_of({"type": "stale", "stale": stale})


def reconnect_frame(after_ms: int) -> str:
    """Return the request to connect anew after some milliseconds; a close follows."""
    return text_of({"type": "reconnect", "after_ms": after_ms})


def pong_frame(request_id: str | None) -> str:
    """Return the answer to a ping."""
    return text_of({"type": "pong", "id": request_id} if request_id else {"type": "pong"})


def origin_allowed(origin: str | None, host: str, allowed: Sequence[str]) -> bool:
    """Say whether a browser page of `origin` may connect.

    No Origin is no browser. Else it must be in `allowed` ("*" allows any), or, when that is empty,
    have the host (and port) the request was sent to.
    """
    if origin is None:
        return True
    if allowed:
        return "*" in allowed or origin.rstrip("/").lower() in allowed
    return origin.partition("://")[2].rstrip("/").lower() == host.lower()
