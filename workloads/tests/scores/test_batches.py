"""Which writes commit together."""

import uuid
from collections import deque
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from scoreboard.scores.batches import halves, take


@dataclass(frozen=True)
class Write:
    user_id: uuid.UUID
    number: int


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 8))
def test_batches_keep_each_players_order_and_lose_nothing(players: list[int], limit: int) -> None:
    writes = [Write(uuid.UUID(int=player), n) for n, player in enumerate(players)]
    waiting = deque(writes)
    taken: list[Write] = []
    while waiting:
        oldest = waiting[0]
        batch = take(waiting, limit)
        assert batch[0] == oldest  # nobody waits for ever
        assert len(batch) <= limit
        assert len({write.user_id for write in batch}) == len(batch)
        taken += batch
    assert sorted(taken, key=lambda w: w.number) == writes
    for player in set(players):
        own = [write.number for write in taken if write.user_id == uuid.UUID(int=player)]
        assert own == sorted(own)


@given(st.lists(st.integers(), min_size=2))
def test_halves(batch: list[int]) -> None:
    left, right = halves(batch)
    assert left + right == batch
    assert left
    assert right
