"""Which waiting writes are committed together (pure).

One statement may hold a player once: the second write of a player builds on the first one's
result. So a batch takes the oldest write of each player, and the rest waits for the next batch.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar
from uuid import UUID

MAX_BATCH: Final = 256
"""Rows of one statement: enough to fill a commit, few enough to keep its time short."""


class HasUser(Protocol):
    @property
    def user_id(self) -> UUID: ...


J = TypeVar("J", bound=HasUser)
T = TypeVar("T")


def take(waiting: deque[J], limit: int = MAX_BATCH) -> list[J]:
    """Remove and return the next batch: oldest first, no player twice, at most `limit`.

    What stays keeps its order, so writes of one player are committed in the order they came.
    """
    batch: list[J] = []
    passed_over: list[J] = []
    players: set[UUID] = set()
    while waiting and len(batch) < limit:
        job = waiting.popleft()
        if job.user_id in players:
            passed_over.append(job)
        else:
            players.add(job.user_id)
            batch.append(job)
    waiting.extendleft(reversed(passed_over))
    return batch


def halves(batch: Sequence[T]) -> tuple[list[T], list[T]]:
    """Split a batch that failed, to find the row that made it fail."""
    middle = (len(batch) + 1) // 2
    return list(batch[:middle]), list(batch[middle:])
