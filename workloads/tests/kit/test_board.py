"""Records on their way into the index."""

import asyncio
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit import board as board_module
from scoreboard.kit.board import SCORE_UPDATES, USER_ACTIONS, Board, apply_record
from scoreboard.kit.kafka import KafkaUnavailable, bounded
from scoreboard.kit.kafka_reader import PositionLost, Record, positions_in
from scoreboard.kit.ranking import Ranking
from scoreboard.kit.shards import ShardUnavailable

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


def test_names_of_an_older_version_are_ignored() -> None:
    ranking = Ranking()
    apply_record(ranking, score(1, 10))
    update = {
        "type": "profile.updated",
        "user_id": str(USER),
        "display_name": "New",
        "version": 3,
    }
    apply_record(ranking, record(USER_ACTIONS, json.dumps(update).encode()))
    late = json.loads(score(2, 20).value)
    apply_record(ranking, record(SCORE_UPDATES, json.dumps(late | {"user_version": 2}).encode()))
    apply_record(ranking, record(USER_ACTIONS, json.dumps(update | {"version": 2}).encode()))
    entry = ranking.entry(USER)
    assert entry is not None
    assert (entry.score, entry.display_name, entry.user_version) == (20, "New", 3)


@given(st.sampled_from([SCORE_UPDATES, USER_ACTIONS]), st.binary(max_size=60))
def test_no_record_stops_the_board(topic: str, value: bytes) -> None:
    apply_record(Ranking(), record(topic, value))


PLACE = (SCORE_UPDATES, 0)


class FakeReader:
    """A log of one partition; failures happen, in turn, instead of a start or a read."""

    def __init__(self, log: list[Record] | None = None) -> None:
        self.log = log or []
        self.positions: dict[tuple[str, int], int] = {}
        self.starts = 0
        self.start_failures: list[BaseException] = []
        self.read_failures: list[BaseException] = []

    async def start(self) -> dict[tuple[str, int], int]:
        self.starts += 1
        if self.start_failures:
            raise self.start_failures.pop(0)
        ends = {PLACE: len(self.log)}
        self.positions = positions_in(ends, self.positions)
        return ends

    def forget(self) -> None:
        self.positions = {}

    async def read(self, timeout: float) -> list[Record]:
        await asyncio.sleep(0.01)
        if self.read_failures:
            raise self.read_failures.pop(0)
        found = self.log[self.positions[PLACE] :]
        self.positions[PLACE] = len(self.log)
        return found

    async def close(self) -> None:
        pass


class FakeShard:
    """A shard with one row; `away` while it cannot be read."""

    def __init__(self, index: int, row: tuple[Any, ...] | None = None) -> None:
        self.index = index
        self.row = row
        self.away = False
        self.reads = 0

    async def run(self, work: Any, *, deadline: float, idempotent: bool) -> Any:
        if self.away:
            raise ShardUnavailable(self.index, None, False)
        self.reads += 1
        return await work(self)

    async def fetch(self, *_: Any) -> list[tuple[Any, ...]]:
        return [self.row] if self.row is not None else []


class FakeShards:
    def __init__(self, *shards: FakeShard) -> None:
        self.shards = shards

    def all(self) -> list[FakeShard]:
        return list(self.shards)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_module, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(board_module, "OUTAGE_REFRESH_SECONDS", 0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


def made(reader: FakeReader, *shards: FakeShard) -> Board:
    return Board(FakeShards(*shards), reader)  # type: ignore[arg-type]


async def test_a_stray_cancellation_does_not_end_the_board() -> None:
    reader = FakeReader()
    reader.start_failures = [asyncio.CancelledError()]
    board = made(reader)
    await board.start()
    await until(lambda: board.complete)
    assert (reader.starts, board.live, board.not_ready()) == (2, True, None)
    await board.close()
    assert board.not_live() is not None


async def test_a_restarted_reader_reads_on_and_asks_no_shard() -> None:
    reader, shard = FakeReader(), FakeShard(0)
    board = made(reader, shard)
    await board.start()
    await until(lambda: board.live)
    reads = shard.reads
    shard.away = True
    reader.read_failures = [KafkaUnavailable("gone")]
    await until(lambda: not reader.read_failures)
    reader.log.append(score(1, 10))  # while nobody was connected
    await until(lambda: len(board.ranking) == 1 and board.live)
    assert (reader.starts, shard.reads) == (2, reads)
    await board.close()


async def test_a_shard_that_is_away_keeps_no_events_from_the_index() -> None:
    reader = FakeReader()
    there, away = FakeShard(0), FakeShard(1)
    away.away = True
    board = made(reader, there, away)
    await board.start()
    await until(lambda: bool(reader.positions))
    reader.log.append(score(1, 10))
    await until(lambda: len(board.ranking) == 1)
    assert not board.complete
    away.away = False
    await until(lambda: board.complete and board.live)
    assert there.reads == 1
    await board.close()


async def test_lost_positions_make_it_read_every_shard_again() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    reader = FakeReader()
    shard = FakeShard(0, (USER, 20, moment, 2, "u", "U", 1))
    board = made(reader, shard)
    await board.start()
    await until(lambda: board.live)
    # Meanwhile the name changed and the log was cut: only a snapshot can tell.
    shard.row = (USER, 20, moment, 2, "u", "New", 2)
    reader.read_failures = [PositionLost("cut")]
    await until(lambda: board.ranking.top(1)[0].entry.display_name == "New")
    await until(lambda: board.live)
    assert (reader.starts, shard.reads) == (2, 2)
    await board.close()


async def test_while_kafka_is_away_the_database_is_read() -> None:
    reader = FakeReader()
    reader.start_failures = [KafkaUnavailable("away")] * 3
    there, away = (
        FakeShard(
            0,
            (USER, 20, datetime(2026, 1, 2, tzinfo=UTC), 2, "u", "U", 1),
        ),
        FakeShard(1),
    )
    away.away = True
    board = made(reader, there, away)
    await board.start()
    await until(lambda: len(board.ranking) == 1)
    assert not board.complete
    away.away = False
    await until(lambda: board.live)
    await board.close()


async def test_a_record_that_cannot_be_applied_costs_no_other() -> None:
    reader = FakeReader()
    board = made(reader)

    def fails(_: Record) -> None:
        raise RuntimeError("bug")

    board.on_user_action = fails
    await board.start()
    await until(lambda: board.live)
    reader.log += [record(USER_ACTIONS, b'{"type":"x","user_id":"%s"}' % str(USER).encode())]
    reader.log += [score(1, 10)]
    await until(lambda: len(board.ranking) == 1)
    assert reader.starts == 1
    await board.close()


def test_where_to_read_on() -> None:
    a, b = ("t", 0), ("t", 1)
    assert positions_in({a: 5}, {}) == {a: 5}
    assert positions_in({a: 5, b: 3}, {a: 2}) == {a: 2, b: 0}
    with pytest.raises(PositionLost):
        positions_in({a: 5}, {a: 6})


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
