"""The group commit against a shard that is a model of the statement."""

import asyncio
import json
import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import pytest

from scoreboard.kit.problems import Problem
from scoreboard.kit.ranking import Ranking, Row
from scoreboard.kit.shards import ShardUnavailable
from scoreboard.scores import repository
from scoreboard.scores.models import Job, Outcome, Prepared, Result, ScoreUpdate
from scoreboard.scores.rules import Rules
from scoreboard.scores.writer import ShardWriter


class ModelShard:
    """Accepts and refuses as the statement does; time stands still."""

    index = 0

    def __init__(self) -> None:
        self.scores: dict[uuid.UUID, tuple[int, int, int]] = {}
        self.answers: dict[tuple[uuid.UUID, str], tuple[bytes, bytes]] = {}
        self.used: dict[uuid.UUID, int] = {}
        self.poison: set[uuid.UUID] = set()
        self.batches: list[int] = []
        self.lookups: list[int] = []
        self.lookups_pass = asyncio.Event()
        self.lookups_pass.set()
        self.clock = 0
        self.failure: Exception | None = None

    async def run(self, work: Any, *, deadline: float, idempotent: bool) -> Any:
        if self.failure is not None:
            raise self.failure
        return await work(self)

    async def write(
        self, rows: Sequence[Prepared], *, updates_per_minute: int, **_: Any
    ) -> list[Result]:
        await asyncio.sleep(0)
        self.batches.append(len(rows))
        assert len({row.job.user_id for row in rows}) == len(rows)
        if any(row.job.user_id in self.poison for row in rows):
            raise asyncpg.DataError("poison")
        decided = [self._decide(row, updates_per_minute) for row in rows]
        go = all(outcome is Outcome.HELD for outcome in decided)
        return [
            self._accept(row) if go else self._result(row, outcome)
            for row, outcome in zip(rows, decided, strict=True)
        ]

    def _decide(self, row: Prepared, limit: int) -> Outcome:
        seen = self.answers.get((row.job.user_id, row.job.key))
        if seen is not None:
            return Outcome.REPLAY if seen[0] == row.job.payload_hash else Outcome.REUSED
        if self.used.get(row.job.user_id, 0) >= limit:
            return Outcome.LIMITED
        if self.scores.get(row.job.user_id, (0, 0, 0))[1] != row.expected_version:
            return Outcome.STALE
        return Outcome.HELD

    def _result(self, row: Prepared, outcome: Outcome) -> Result:
        score, version, at = self.scores.get(row.job.user_id, (0, 0, 0))
        known = version > 0
        seen = self.answers.get((row.job.user_id, row.job.key))
        return Result(
            outcome,
            seen[1] if seen else None,
            score if known else None,
            at if known else None,
            version if known else None,
            "u",
            "U",
            4,
            0,
            1.0,
        )

    def _accept(self, row: Prepared) -> Result:
        self.clock += 1
        user, version = row.job.user_id, row.expected_version + 1
        at = self.scores[user][2] if row.keeps_place else self.clock
        self.scores[user] = (row.new_score, version, at)
        self.used[user] = self.used.get(user, 0) + 1
        body = json.dumps(
            {"score": row.new_score, "rank": row.rank, "previous_rank": row.previous_rank}
        ).encode()
        self.answers[user, row.job.key] = (row.job.payload_hash, body)
        return self._result(row, Outcome.ACCEPTED)


class OneShard:
    def __init__(self, shard: ModelShard) -> None:
        self._shard = shard

    def at(self, _: int) -> ModelShard:
        return self._shard


class FakeBoard:
    def __init__(self) -> None:
        self.ranking = Ranking()
        self.complete = True


class Bench:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, rules: Rules | None = None) -> None:
        self.shard = ModelShard()
        self.board = FakeBoard()
        self.wakes: list[int] = []
        monkeypatch.setattr(repository, "write", lambda c, rows, **o: c.write(rows, **o))

        async def stored(c: ModelShard, places: list[tuple[uuid.UUID, str]]) -> Any:
            await c.lookups_pass.wait()
            c.lookups.append(len(places))
            return {place: c.answers[place] for place in places if place in c.answers}

        monkeypatch.setattr(repository, "stored_answers", stored)
        found = rules or Rules()
        self.writer = ShardWriter(
            0,
            OneShard(self.shard),  # type: ignore[arg-type]
            self.board,  # type: ignore[arg-type]
            lambda: found,
            self.wakes.append,
        )

    def post(self, player: int, change: int, key: str | None = None) -> "asyncio.Future[Any]":
        loop = asyncio.get_running_loop()
        update = ScoreUpdate("default", change)
        job = Job(
            user_id=uuid.UUID(int=player),
            bucket=0,
            session_id=uuid.uuid4(),
            ip_address=None,
            key=key or uuid.uuid4().hex,
            payload_hash=update.payload_hash(),
            update=update,
            event_id=uuid.uuid4(),
            deadline=loop.time() + 5,
            answer=loop.create_future(),
        )
        self.writer.submit(job)
        return job.answer


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def ranks(answers: list[Any]) -> list[tuple[int | None, int]]:
    bodies = [json.loads(answer.body) for answer in answers]
    return [(body["previous_rank"], body["rank"]) for body in bodies]


async def test_what_waits_is_committed_together(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.post(player, player) for player in range(1, 21)))
    assert bench.shard.batches == [20]
    assert not any(answer.replayed for answer in answers)
    assert bench.wakes == [0]


async def test_ranks_in_a_batch_are_those_of_its_order(bench: Bench) -> None:
    answers = await asyncio.gather(bench.post(1, 10), bench.post(2, 20), bench.post(3, 10))
    assert ranks(answers) == [(None, 1), (None, 1), (None, 3)]
    assert [r.entry.user_id.int for r in bench.board.ranking.top(9)] == [2, 1, 3]


async def test_writes_of_one_player_build_on_each_other(bench: Bench) -> None:
    answers = await asyncio.gather(*(bench.post(1, 5) for _ in range(4)))
    assert [json.loads(answer.body)["score"] for answer in answers] == [5, 10, 15, 20]
    assert bench.shard.batches == [1, 1, 1, 1]


async def test_the_limit_refuses_one_and_leaves_its_neighbours(bench: Bench) -> None:
    bench.shard.used[uuid.UUID(int=1)] = 10
    limited, fine = bench.post(1, 5), bench.post(2, 5)
    assert json.loads((await fine).body)["rank"] == 1
    with pytest.raises(Problem) as caught:
        await limited
    assert caught.value.code == "rate-limited"
    assert caught.value.headers["Retry-After"] == "1"
    assert bench.shard.batches == [2, 1]


async def test_a_replay_is_the_first_answer_byte_for_byte(bench: Bench) -> None:
    first = await bench.post(1, 5, key="key-1")
    await bench.post(2, 50)
    again = await bench.post(1, 5, key="key-1")
    assert again.replayed
    assert again.body == first.body
    with pytest.raises(Problem) as caught:
        await bench.post(1, 6, key="key-1")
    assert caught.value.code == "idempotency-key-reused"
    assert bench.shard.scores[uuid.UUID(int=1)][0] == 5


async def test_a_replay_survives_a_change_of_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, Rules(max_score=5))
    first = await bench.post(1, 5, key="key-1")
    again = await bench.post(1, 5, key="key-1")  # would break the rule if it were new
    assert (again.replayed, again.body) == (True, first.body)
    with pytest.raises(Problem) as caught:
        await bench.post(1, 5)
    assert caught.value.code == "rule-violated"


async def test_refusals_are_looked_up_together_and_no_commit_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench(monkeypatch, Rules(max_score=5))
    bench.shard.lookups_pass.clear()
    refused = [bench.post(player, 6) for player in range(1, 40)]
    async with asyncio.timeout(5):
        assert json.loads((await bench.post(50, 5)).body)["rank"] == 1
    assert not any(answer.done() for answer in refused)
    bench.shard.lookups_pass.set()
    for outcome in await asyncio.gather(*refused, return_exceptions=True):
        assert isinstance(outcome, Problem)
        assert outcome.code == "rule-violated"
    assert bench.shard.lookups == [39]


async def test_a_score_another_replica_wrote_is_learnt(bench: Bench) -> None:
    bench.shard.scores[uuid.UUID(int=1)] = (100, 7, 3)
    body = json.loads((await bench.post(1, 5)).body)
    assert (body["score"], body["previous_rank"]) == (105, 1)
    entry = bench.board.ranking.entry(uuid.UUID(int=1))
    assert entry is not None
    assert entry.version == 8


async def test_names_are_learnt_with_their_version(bench: Bench) -> None:
    bench.board.ranking.apply(Row(uuid.UUID(int=1), 50, 1, 4, "new", "New", 5))
    bench.shard.scores[uuid.UUID(int=1)] = (50, 4, 1)
    await asyncio.gather(bench.post(1, 5), bench.post(2, 5))
    found = [(r.entry.username, r.entry.user_version) for r in bench.board.ranking.top(2)]
    assert found == [("new", 5), ("u", 4)]


async def test_a_player_who_was_erased_leaves_the_index(bench: Bench) -> None:
    bench.board.ranking.apply(Row(uuid.UUID(int=1), 50, 1, 4, "u", "U"))
    body = json.loads((await bench.post(1, 5)).body)
    assert (body["score"], body["previous_rank"]) == (5, None)


async def test_an_index_ahead_of_the_database_is_put_right(bench: Bench) -> None:
    user = uuid.UUID(int=1)
    bench.shard.scores[user] = (40, 6, 3)  # a failover lost version 7
    bench.board.ranking.apply(Row(user, 50, 5, 7, "u", "U"))
    body, other = await asyncio.gather(bench.post(1, 5), bench.post(2, 1))
    assert json.loads(body.body)["score"] == 45
    assert json.loads(other.body)["score"] == 1
    assert bench.shard.batches == [2, 2]
    entry = bench.board.ranking.entry(user)
    assert entry is not None
    assert (entry.score, entry.version) == (45, 7)


async def test_a_row_that_stays_stale_fails_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = bench.shard._decide

    def confused(row: Prepared, limit: int) -> Outcome:
        return Outcome.STALE if row.job.user_id.int == 1 else decide(row, limit)

    monkeypatch.setattr(bench.shard, "_decide", confused)
    bench.shard.scores[uuid.UUID(int=1)] = (40, 6, 3)
    bench.board.ranking.apply(Row(uuid.UUID(int=1), 40, 3, 6, "u", "U", 4))
    stale, fine = await asyncio.gather(bench.post(1, 5), bench.post(2, 1), return_exceptions=True)
    assert isinstance(stale, Problem)
    assert stale.code == "unavailable"
    assert json.loads(fine.body)["rank"] == 2  # type: ignore[union-attr]
    assert bench.shard.batches == [2, 2, 2, 1]


async def test_poison_is_isolated(bench: Bench) -> None:
    bench.shard.poison.add(uuid.UUID(int=7))
    answers = [bench.post(player, 1) for player in range(1, 12)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    failed = [n for n, outcome in enumerate(outcomes) if isinstance(outcome, Problem)]
    assert failed == [6]
    assert len(bench.shard.scores) == 10


async def test_a_shard_that_is_away_is_503(bench: Bench) -> None:
    bench.shard.failure = ShardUnavailable(0, None, False)
    with pytest.raises(Problem) as caught:
        await bench.post(1, 5)
    assert (caught.value.code, caught.value.status) == ("unavailable", 503)
    bench.shard.failure = None
    await bench.post(1, 5)


async def test_a_client_that_left_is_not_written(bench: Bench) -> None:
    gone = bench.post(1, 5)
    gone.cancel()
    await bench.post(2, 5)
    assert uuid.UUID(int=1) not in bench.shard.scores
