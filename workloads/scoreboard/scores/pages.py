"""Leaderboard answers as bytes, built once per change and not once per request (pure).

A page of the top is kept until a change touches it: one above or at its last row, or one of the
number of players. Cursors name the last row of a page by its key (score, time, player), so the
next page begins after it wherever that row has gone meanwhile: rows that did not move are neither
repeated nor skipped.
"""

import base64
import binascii
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from scoreboard.kit.problems import invalid
from scoreboard.kit.ranking import (
    KEY_BYTES,
    BoardEntry,
    Change,
    Ranked,
    Ranking,
    entry_of,
    timestamp,
)

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
KEPT_PAGES: Final = 32
"""Different limits whose top page is kept; beyond it the longest unused one is dropped."""
_STALE_PREFIX: Final = b'{"stale":true,'


class BoardDocument(msgspec.Struct, frozen=True):
    """Answer of GET /api/v1/leaderboard."""

    window: str
    as_of: str
    total: int
    entries: list[BoardEntry]
    next_cursor: str | None


class Page(msgspec.Struct, frozen=True):
    """Bytes ready to be sent, with their strong entity tag."""

    body: bytes
    etag: str
    last_key: int | None
    """Key of the last row, or None when the page holds the whole board."""


def encode_cursor(key: int) -> str:
    """Return the cursor that continues after a key."""
    return base64.urlsafe_b64encode(key.to_bytes(KEY_BYTES, "big")).rstrip(b"=").decode()


def decode_cursor(text: str) -> int:
    """Return the key in a cursor. Raises Problem invalid-request when it is not one of ours."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid("cursor", "not a cursor of this board") from error
    if len(raw) != KEY_BYTES:
        raise invalid("cursor", "not a cursor of this board")
    return int.from_bytes(raw, "big")


def labelled_stale(body: bytes) -> bytes:
    """Return a page's bytes with `"stale": true`, for one that came from the shared cache."""
    return _STALE_PREFIX + body[1:]


def etag_of(body: bytes) -> str:
    """Return the strong entity tag of some bytes."""
    return f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def matches(if_none_match: str | None, etag: str) -> bool:
    """Say whether If-None-Match names the tag (weak comparison, as RFC 9110 asks for GET)."""
    if not if_none_match:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in tags or etag in tags


class Pages:
    """Builds pages of a ranking and keeps those of the top."""

    def __init__(self, ranking: Ranking, clock: Callable[[], float] = time.time) -> None:
        self._ranking = ranking
        self._clock = clock
        self._tops: OrderedDict[int, Page] = OrderedDict()
        self.built = 0
        """Counts pages that were encoded."""
        ranking.listen(self._on_change)

    def clear(self) -> None:
        """Forget every kept page, after rows were loaded in bulk."""
        self._tops.clear()

    def _on_change(self, change: Change) -> None:
        counts = change.old_key is None or change.new_key is None
        highest = min(key for key in (change.old_key, change.new_key) if key is not None)
        for limit, page in list(self._tops.items()):
            if counts or page.last_key is None or highest <= page.last_key:
                del self._tops[limit]

    def kept_limits(self) -> list[int]:
        """Return the limits whose top page is ready."""
        return list(self._tops)

    def top(self, limit: int) -> Page:
        """Return the first `limit` rows (1 to 1000)."""
        page = self._tops.get(limit)
        if page is None:
            page = self._page(self._ranking.top(limit), limit)
            self._tops[limit] = page
            if len(self._tops) > KEPT_PAGES:
                self._tops.popitem(last=False)
        else:
            self._tops.move_to_end(limit)
        return page

    def after(self, cursor: int, limit: int) -> Page:
        """Return the rows that follow a cursor's key."""
        return self._page(self._ranking.after(cursor, limit), limit)

    def around(self, user_id: UUID, limit: int) -> Page | None:
        """Return the rows around a player, or None when they are not on the board."""
        rows = self._ranking.around(user_id, limit)
        return None if rows is None else self._page(rows, limit)

    def _page(self, rows: Sequence[Ranked], limit: int) -> Page:
        self.built += 1
        total = len(self._ranking)
        last = rows[-1] if rows else None
        more = last is not None and last.rank < total
        last_key = last.entry.key if last is not None and more else None
        document = BoardDocument(
            window="all",
            # The board's own time, so that every replica makes the same bytes and tag of it.
            as_of=timestamp(self._ranking.latest_us or int(self._clock() * 1_000_000)),
            total=total,
            entries=[entry_of(row) for row in rows],
            next_cursor=encode_cursor(last_key) if last_key is not None else None,
        )
        body = msgspec.json.encode(document)
        return Page(body, etag_of(body), last_key)
