"""The exact order of a board, in memory (pure).

Order: score descending, then who reached it first, then user id. The three are packed into one
integer, so that ascending keys are ascending ranks:

    (2^31 - 1 - score) << 192  |  reached_at in microseconds since 1970 << 128  |  user id

Every row has the version of its player's score, and that of the player's names; older versions
change nothing, so rows may be applied from a snapshot, from events and from one's own commits in
any order and any number.

A database that lost its last commits in a failover is behind the index. What it says counts then,
once it is sure that it said so after the index knew its version: see `correct` and `load`.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import msgspec
from sortedcontainers import SortedList  # type: ignore[import-untyped]

MAX_SCORE: Final = 2**31 - 1
MIN_SCORE: Final = -(2**31)
KEY_BYTES: Final = 28
_TIME_MASK: Final = 2**64 - 1
_ID_MASK: Final = 2**128 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = 2**63
"""A reached_at, in microseconds, later than any real one."""


def key_of(score: int, reached_us: int, user_id: UUID) -> int:
    """Return the sort key of a row; score is a 32-bit integer, reached_us within 64 bits."""
    return ((MAX_SCORE - score) << 192) | (reached_us << 128) | user_id.int


def score_of(key: int) -> int:
    """Return the score in a key."""
    return MAX_SCORE - (key >> 192)


def reached_of(key: int) -> int:
    """Return the time in a key, in microseconds since 1970."""
    return (key >> 128) & _TIME_MASK


def user_of(key: int) -> UUID:
    """Return the user id in a key."""
    return UUID(int=key & _ID_MASK)


def microseconds(moment: datetime) -> int:
    """Return an aware datetime as microseconds since 1970, exactly."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def timestamp(us: int) -> str:
    """Return microseconds since 1970 as RFC 3339 in UTC, always with six decimals."""
    moment = _EPOCH + timedelta(microseconds=us)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond:06d}Z"


class Entry(msgspec.Struct, gc=False):
    """What the index keeps of one player."""

    key: int
    version: int
    username: str
    display_name: str
    user_version: int
    """The version of the names."""
    made: int
    """The board's `changes` when it came into the index."""

    @property
    def score(self) -> int:
        return score_of(self.key)

    @property
    def reached_us(self) -> int:
        return reached_of(self.key)

    @property
    def user_id(self) -> UUID:
        return user_of(self.key)


class Row(msgspec.Struct, frozen=True, gc=False):
    """One player's score as it comes from a snapshot, an event or a commit."""

    user_id: UUID
    score: int
    reached_us: int
    version: int
    username: str
    display_name: str
    user_version: int = 0
    """The version of the names (users.version)."""


class Change(msgspec.Struct, frozen=True, gc=False):
    """What one applied row did: a key of None means not on the board."""

    user_id: UUID
    old_key: int | None
    new_key: int | None


class Ranked(msgspec.Struct, frozen=True, gc=False):
    """One line of a board; ranks start at 1."""

    rank: int
    entry: Entry


class BoardEntry(msgspec.Struct, frozen=True):
    """One line of a board as clients see it."""

    rank: int
    user_id: UUID
    username: str
    display_name: str
    score: int
    reached_at: str


def entry_of(ranked: Ranked) -> BoardEntry:
    """Return a row in the form clients see, in pages and on sockets alike."""
    entry = ranked.entry
    return BoardEntry(
        ranked.rank,
        entry.user_id,
        entry.username,
        entry.display_name,
        entry.score,
        timestamp(entry.reached_us),
    )


Listener = Callable[[Change], None]


class Ranking:
    """Every player's place on one board."""

    def __init__(self) -> None:
        self._keys: Any = SortedList()
        self._entries: dict[int, Entry] = {}
        self._listeners: list[Listener] = []
        self.changes = 0
        """Counts changes of order, score or name; equal counts mean equal boards."""
        self.latest_us = 0
        """The latest reached_at of any row that was ever applied: the board is as of then."""

    def __len__(self) -> int:
        return len(self._keys)

    def listen(self, listener: Listener) -> None:
        """Call `listener` after each change, except those of `load`."""
        self._listeners.append(listener)

    def apply(self, row: Row) -> bool:
        """Apply one row; False when it has nothing newer, neither score nor names."""
        known = self._entries.get(row.user_id.int)
        entry = self._merge(known, row)
        if entry is known:
            return False
        self._put(known, entry)
        return True

    def correct(self, row: Row, expected: int) -> bool:
        """Apply what the database says of a player of whom `expected` was the index's version.

        An older version than expected replaces the entry, unless that has moved on meanwhile.
        Returns False when nothing changed.
        """
        known = self._entries.get(row.user_id.int)
        if known is None or known.version != expected or row.version >= expected:
            return self.apply(row)
        self._put(known, self._entry(row))
        return True

    def load(self, rows: Iterable[Row], since: int = -1) -> int:
        """Apply many rows at once, cheaply; returns how many were news. Listeners are not called.

        Meant for snapshots; listeners see `changes` move and must look at the board anew. `since`
        is `changes` from before the rows were read from a primary: entries no younger than that
        must be in them, so one with a newer version than its row is replaced by it.
        """
        added: list[int] = []
        news = 0
        for row in rows:
            known = self._entries.get(row.user_id.int)
            if known is not None and known.version > row.version and known.made <= since:
                entry = self._entry(row)
            else:
                entry = self._merge(known, row)
            if entry is known:
                continue
            news += 1
            self.latest_us = max(self.latest_us, entry.reached_us)
            self._entries[row.user_id.int] = entry
            if known is not None:
                if known.key != entry.key:
                    self._keys.remove(known.key)
                    self._keys.add(entry.key)
                continue
            added.append(entry.key)
            if len(added) >= 500_000:
                self._keys.update(added)
                added.clear()
        self._keys.update(added)
        if news:
            self.changes += 1
        return news

    def rename(
        self, user_id: UUID, username: str | None, display_name: str | None, version: int = 0
    ) -> bool:
        """Set a player's names, those that are not None; False when old or nothing changed."""
        known = self._entries.get(user_id.int)
        if known is None or version < known.user_version:
            return False
        entry = msgspec.structs.replace(
            known,
            username=known.username if username is None else username,
            display_name=known.display_name if display_name is None else display_name,
            user_version=version,
        )
        if entry == known:
            return False
        self._put(known, entry)
        return True

    def _entry(self, row: Row) -> Entry:
        key = key_of(row.score, row.reached_us, row.user_id)
        return Entry(
            key, row.version, row.username, row.display_name, row.user_version, self.changes + 1
        )

    def _merge(self, known: Entry | None, row: Row) -> Entry:
        """Return the newer score with the newer names: `known` itself when it has both."""
        if known is None:
            return self._entry(row)
        newer_score = row.version > known.version
        names = (row.username, row.display_name, row.user_version)
        kept = (known.username, known.display_name, known.user_version)
        # Names of the same version are taken: a user without one would keep the first ones seen.
        newer_names = row.user_version >= known.user_version and names != kept
        if not newer_score and not newer_names:
            return known
        return Entry(
            key_of(row.score, row.reached_us, row.user_id) if newer_score else known.key,
            row.version if newer_score else known.version,
            *(names if newer_names else kept),
            self.changes + 1 if newer_score else known.made,
        )

    def _put(self, known: Entry | None, entry: Entry) -> None:
        """Put an entry in the place of the known one and tell the listeners."""
        old_key = known.key if known is not None else None
        if old_key != entry.key:
            if old_key is not None:
                self._keys.remove(old_key)
            self._keys.add(entry.key)
        user_id = entry.user_id
        self._entries[user_id.int] = entry
        self.latest_us = max(self.latest_us, entry.reached_us)
        self._changed(Change(user_id, old_key, entry.key))

    def remove(self, user_id: UUID) -> bool:
        """Take a player off the board; False when not on it."""
        known = self._entries.pop(user_id.int, None)
        if known is None:
            return False
        self._keys.remove(known.key)
        self._changed(Change(user_id, known.key, None))
        return True

    def _changed(self, change: Change) -> None:
        self.changes += 1
        for listener in self._listeners:
            listener(change)

    def entry(self, user_id: UUID) -> Entry | None:
        """Return a player's entry, or None."""
        return self._entries.get(user_id.int)

    def rank(self, user_id: UUID) -> int | None:
        """Return a player's rank, from 1, or None when not on the board."""
        known = self._entries.get(user_id.int)
        return None if known is None else self._keys.bisect_left(known.key) + 1

    def place(self, key: int) -> int:
        """Return how many rows are strictly before a key, whether it is on the board or not."""
        return int(self._keys.bisect_left(key))

    def top(self, limit: int) -> list[Ranked]:
        """Return the first `limit` rows."""
        return list(self._slice(0, limit))

    def after(self, key: int, limit: int) -> list[Ranked]:
        """Return the rows that follow a key, which need not be on the board any more."""
        return list(self._slice(self._keys.bisect_right(key), limit))

    def around(self, user_id: UUID, limit: int) -> list[Ranked] | None:
        """Return up to `limit` rows with the player in the middle, or None when not on the board.

        At either end of the board the window slides, so that it stays full.
        """
        rank = self.rank(user_id)
        if rank is None:
            return None
        first = max(0, min(rank - 1 - (limit - 1) // 2, len(self._keys) - limit))
        return list(self._slice(first, limit))

    def _slice(self, first: int, limit: int) -> Iterator[Ranked]:
        for offset, key in enumerate(self._keys.islice(first, first + limit)):
            yield Ranked(first + offset + 1, self._entries[key & _ID_MASK])


class Preview:
    """Ranks as they will be once a series of moves is applied, without touching the board.

    A batch asks for each of its players' ranks before it commits; each move sees those before
    it. Costs two or three binary searches a move.
    """

    def __init__(self, ranking: Ranking) -> None:
        self._ranking = ranking
        self._gone: list[int] = []
        self._come: list[int] = []

    def move(self, user_id: UUID, score: int) -> tuple[int | None, int]:
        """Move a player, at most once per preview, to a score reached just now.

        Returns (rank before or None, rank after). An unchanged score keeps its place.
        """
        known = self._ranking.entry(user_id)
        before = self._place(known.key) + 1 if known is not None else None
        if known is not None:
            if known.score == score:
                return before, self._place(known.key) + 1
            insort(self._gone, known.key)
        # Later than every row that is there, and in the order of the moves among themselves.
        key = key_of(score, LATEST + len(self._come), user_id)
        after = self._place(key) + 1
        insort(self._come, key)
        return before, after

    def _place(self, key: int) -> int:
        return (
            self._ranking.place(key) - bisect_left(self._gone, key) + bisect_left(self._come, key)
        )
