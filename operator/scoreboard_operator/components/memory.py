"""What an engine said last, for the moment in which it does not answer.

On a busy machine a healthy engine misses the operator's short time limits now and then. A condition
that flips each time is worth nothing, so one missed answer is no trouble yet. What is recalled is
for judging only: nobody may act on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from scoreboard_operator.components.base import Board

T = TypeVar("T")

TOLERATED = 2
"""Consecutive failures that are passed over; the next one is trouble."""

KEEP_SECONDS = 30.0


@dataclass
class _Kept(Generic[T]):
    value: T
    at: float
    failures: int = 0


class Memory(Generic[T]):
    """The last good answer per board (and part of it), for half a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str, str, str], _Kept[T]] = {}

    def keep(self, board: Board, value: T, part: str = "") -> None:
        """Take note of a good answer; earlier failures are forgiven."""
        self._kept[_key(board, part)] = _Kept(value, self._clock())

    def missed(self, board: Board, part: str = "") -> T | None:
        """Count a failure; the last good answer while failures are still passed over."""
        kept = self._fresh(board, part)
        if kept is None:
            return None
        kept.failures += 1
        return kept.value if kept.failures <= TOLERATED else None

    def last(self, board: Board, part: str = "") -> T | None:
        """The last good answer, however many failures came after it."""
        kept = self._fresh(board, part)
        return None if kept is None else kept.value

    def drop(self, board: Board, part: str = "") -> None:
        """Forget: what comes back is not what was there."""
        self._kept.pop(_key(board, part), None)

    def _fresh(self, board: Board, part: str) -> _Kept[T] | None:
        oldest = self._clock() - KEEP_SECONDS
        # All boards', since a board that is gone never asks again.
        for key in [key for key, kept in self._kept.items() if kept.at < oldest]:
            del self._kept[key]
        return self._kept.get(_key(board, part))


def _key(board: Board, part: str) -> tuple[str, str, str, str]:
    return board.namespace, board.name, board.uid, part
