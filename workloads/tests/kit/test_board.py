"""Records on their way into the index."""

import asyncio
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit import board as board_module
from scoreboard.kit.board import SCORE_UPDATES, USER_ACTIONS, Board, apply_record
from scoreboard.kit.kafka import Record, bounded
from scoreboard.kit.ranking import Ranking

USER = uuid.UUID(int=5)


def record(topic: str, value: bytes) -> Record:
    return Record(topic, 0, 0, b"", value, {})


def score(version: int, score: int) -> Record:
    body: dict[str, Any] = {
        "event_id": "e",
        "type": "score.updated",
        "user_id": str(USER),
        "username": "u",
        "display_name": "U",
        "score": score,
        "version": version,
        "reached_at": "2026-01-02T03:04:05.000006Z",
    }
    return record(SCORE_UPDATES, json.dumps(body).encode())


def test_duplicates_and_late_events_change_nothing() -> None:
    ranking = Ranking()
    for version, points in ((1, 10), (2, 20), (1, 10), (2, 20)):
        apply_record(ranking, score(version, points))
    entry = ranking.entry(USER)
    assert entry is not None
    assert (entry.score, entry.version, ranking.changes) == (20, 2, 2)


def test_user_actions() -> None:
    ranking = Ranking()
    apply_record(ranking, score(1, 10))
    update = {"type": "profile.updated", "user_id": str(USER), "display_name": "New"}
    apply_record(ranking, record(USER_ACTIONS, json.dumps(update).encode()))
    entry = ranking.entry(USER)
    assert entry is not None
    assert entry.display_name == "New"
    gone = {"type": "user.erased", "user_id": str(USER)}
    apply_record(ranking, record(USER_ACTIONS, json.dumps(gone).encode()))
    assert ranking.entry(USER) is None


@given(st.sampled_from([SCORE_UPDATES, USER_ACTIONS]), st.binary(max_size=60))
def test_no_record_stops_the_board(topic: str, value: bytes) -> None:
    apply_record(Ranking(), record(topic, value))


class InterruptedReader:
    """A reader whose library lets a cancellation of its own escape, once."""

    def __init__(self) -> None:
        self.starts = 0

    async def start(self) -> dict[tuple[str, int], int]:
        self.starts += 1
        if self.starts == 1:
            raise asyncio.CancelledError
        return {(SCORE_UPDATES, 0): 0}

    async def read(self, timeout: float) -> list[Record]:
        await asyncio.sleep(0.01)
        return []

    async def close(self) -> None:
        pass


class NoShards:
    def all(self) -> list[Any]:
        return []


async def test_a_stray_cancellation_does_not_end_the_board(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "RETRY_SECONDS", 0.01)
    reader = InterruptedReader()
    board = Board(NoShards(), reader)  # type: ignore[arg-type]
    await board.start()
    async with asyncio.timeout(5):
        while not board.complete:  # noqa: ASYNC110  the board has no event to wait on
            await asyncio.sleep(0.01)
    assert (reader.starts, board.live, board.not_ready()) == (2, True, None)
    await board.close()
    assert board.not_live() is not None


async def test_calls_to_kafka_are_bounded_even_if_they_swallow_cancellation() -> None:
    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(0.2)
                return
            except asyncio.CancelledError:
                continue

    async def gives_up() -> None:
        raise asyncio.CancelledError

    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        await bounded(deaf(), 0.05)
    assert loop.time() - began < 0.2
    with pytest.raises(TimeoutError):
        await bounded(gives_up(), 5)
