"""Group commit: the writes that arrive during one commit go into the next.

One writer per shard has one statement under way at a time. Before a batch is sent, each row's new
score and rank are predicted from the index; the statement accepts the batch only if every
prediction holds, otherwise it says why, and the rows that can still be written go out again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

import asyncpg
import prometheus_client as prometheus
import structlog

from scoreboard.kit.board import Board
from scoreboard.kit.problems import Problem
from scoreboard.kit.ranking import Preview, Row
from scoreboard.kit.shards import Shards, ShardUnavailable
from scoreboard.scores import repository
from scoreboard.scores.batches import MAX_BATCH, halves, take
from scoreboard.scores.models import Answer, Job, Outcome, Prepared, Result
from scoreboard.scores.rules import Rules, next_score

log = structlog.get_logger("scoreboard.writer")

MAX_ROUNDS: Final = 24
"""Statements one batch may take. Each round at least one row is settled, by us or a replica."""
MAX_STALE: Final = 3
"""Times the database may call a row stale and say nothing new. The batch waits for it meanwhile."""
MAX_WAITING: Final = 20_000

BATCH_ROWS: Final = prometheus.Histogram(
    "scoreboard_score_batch_rows",
    "Rows per statement of the score writer.",
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
BATCH_SECONDS: Final = prometheus.Histogram(
    "scoreboard_score_commit_seconds",
    "Time of one statement of the score writer, commit included.",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
OUTCOMES: Final = prometheus.Counter(
    "scoreboard_score_updates_total", "Score updates by what became of them.", ["outcome"]
)


class ShardWriter:
    """Commits the score updates of one shard."""

    def __init__(
        self,
        index: int,
        shards: Shards,
        board: Board,
        rules: Callable[[], Rules],
        committed: Callable[[int], None],
    ) -> None:
        self._index = index
        self._shards = shards
        self._board = board
        self._rules = rules
        self._committed = committed
        self._waiting: deque[Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._refused: deque[tuple[Job, Problem]] = deque()
        self._refusing: asyncio.Task[None] | None = None

    def submit(self, job: Job) -> None:
        """Queue a write; its answer arrives in `job.answer`.

        Raises Problem unavailable when too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise Problem("unavailable", "Too many score updates wait.", retry_after=1)
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._work())

    async def close(self) -> None:
        """Wait for what is queued, up to the deadlines of its jobs."""
        for task in (self._task, self._refusing):  # the first may still add to the second's work
            if task is not None:
                await asyncio.gather(task, return_exceptions=True)

    async def _work(self) -> None:
        while self._waiting:
            batch = take(self._waiting)
            try:
                await self._commit(batch)
            except Exception as error:
                log.error("batch failed", shard=self._index, rows=len(batch), exc_info=error)
                for job in batch:
                    _fail(job, Problem("internal-error"))

    async def _commit(self, batch: Sequence[Job]) -> None:
        """Settle every job of a batch."""
        loop = asyncio.get_running_loop()
        stale: Counter[UUID] = Counter()
        for _ in range(MAX_ROUNDS):
            rules = self._rules()
            rows = self._prepare(rules, batch)
            if not rows:
                return
            deadline = max(row.job.deadline for row in rows) - loop.time()
            began = loop.time()
            try:
                results = await self._write(rules, rows, deadline)
            except ShardUnavailable as error:
                log.warning("shard away", shard=self._index, rows=len(rows), error=str(error))
                for row in rows:
                    _fail(row.job, _unavailable())
                return
            except asyncpg.PostgresError as error:
                await self._isolate([row.job for row in rows], error)
                return
            BATCH_ROWS.observe(len(rows))
            BATCH_SECONDS.observe(loop.time() - began)
            batch = self._settle(rules, rows, results, stale)
            if not batch:
                return
        for job in batch:
            _fail(job, _unavailable())

    async def _isolate(self, jobs: list[Job], error: asyncpg.PostgresError) -> None:
        """Find the row that the database refuses, so that it fails alone."""
        if len(jobs) == 1:
            log.error("row refused", shard=self._index, sqlstate=error.sqlstate, error=str(error))
            OUTCOMES.labels("poisoned").inc()
            _fail(jobs[0], Problem("internal-error"))
            return
        for half in halves(jobs):
            await self._commit(half)

    async def _write(self, rules: Rules, rows: list[Prepared], deadline: float) -> list[Result]:
        shard = self._shards.at(self._index)
        if shard is None:
            raise ShardUnavailable(self._index, None, False)

        async def work(connection: Any) -> list[Result]:
            return await repository.write(
                connection,
                rows,
                updates_per_minute=rules.updates_per_minute,
                min_interval_ms=rules.min_interval_ms,
                shard=self._index,
            )

        # Idempotent: rows whose commit answer was lost come back as replays of themselves.
        return await shard.run(work, deadline=max(0.05, deadline), idempotent=True)

    def _prepare(self, rules: Rules, batch: Sequence[Job]) -> list[Prepared]:
        """Predict scores and ranks; settle what breaks a rule or is out of time."""
        now = asyncio.get_running_loop().time()
        preview = Preview(self._board.ranking)
        rows: list[Prepared] = []
        for job in batch:
            if job.answer.done():
                continue  # the client left before anything was written
            if job.deadline <= now:
                _fail(job, _unavailable())
                continue
            known = self._board.ranking.entry(job.user_id)
            current = known.score if known is not None else None
            try:
                score = next_score(rules, current, job.update.change)
            except Problem as problem:
                self.refuse(job, problem)
                continue
            previous, rank = preview.move(job.user_id, score)
            version = known.version if known is not None else 0
            rows.append(Prepared(job, version, score, score == current, rank, previous))
        return rows

    def refuse(self, job: Job, problem: Problem) -> None:
        """Answer a write that breaks a rule, unless it is a replay of one that did not then.

        Looking that up is nothing commits wait for, and one query does for all that are refused
        meanwhile: refusals count against no limit, so they must not cost the others anything.
        """
        if len(self._refused) >= MAX_WAITING:
            _fail(job, _unavailable())
            return
        self._refused.append((job, problem))
        if self._refusing is None or self._refusing.done():
            self._refusing = asyncio.ensure_future(self._refuse_waiting())

    async def _refuse_waiting(self) -> None:
        while self._refused:
            batch = [self._refused.popleft() for _ in range(min(len(self._refused), MAX_BATCH))]
            try:
                await self._refuse(batch)
            except (ShardUnavailable, asyncpg.PostgresError) as error:
                log.warning("refusals not looked up", shard=self._index, error=str(error))
                for job, _ in batch:
                    _fail(job, _unavailable())
            except Exception as error:
                log.error("refusals failed", shard=self._index, exc_info=error)
                for job, _ in batch:
                    _fail(job, Problem("internal-error"))

    async def _refuse(self, batch: Sequence[tuple[Job, Problem]]) -> None:
        shard = self._shards.at(self._index)
        if shard is None:
            raise ShardUnavailable(self._index, None, False)
        places = [(job.user_id, job.key) for job, _ in batch]
        stored = await shard.run(
            lambda c: repository.stored_answers(c, places), deadline=2.0, idempotent=True
        )
        for job, problem in batch:
            known = stored.get((job.user_id, job.key))
            if known is None:
                OUTCOMES.labels("rule-violated").inc()
                _fail(job, problem)
            elif known[0] == job.payload_hash:
                _resolve(job, Answer(known[1], True, None))
            else:
                _fail(job, Problem("idempotency-key-reused"))

    def _settle(
        self,
        rules: Rules,
        rows: Sequence[Prepared],
        results: Sequence[Result],
        stale: Counter[UUID],
    ) -> list[Job]:
        """Answer what is decided, bring the index up to date, and return what goes out again.

        `stale` counts, by event, how often the database had nothing new to say of a stale row.
        """
        again: list[Job] = []
        committed = False
        for row, result in zip(rows, results, strict=True):
            outcome = result.outcome
            OUTCOMES.labels(outcome.value).inc()
            if outcome is Outcome.ACCEPTED:
                committed = True
                self._learn(row, result)
                _resolve(row.job, Answer(result.response or b"", False, result.remaining))
            elif outcome is Outcome.STALE and not self._learn(row, result):
                stale[row.job.event_id] += 1
                if stale[row.job.event_id] < MAX_STALE:
                    again.append(row.job)
                else:
                    log.error("row stays stale", shard=self._index, user_id=str(row.job.user_id))
                    _fail(row.job, _unavailable())
            elif outcome in (Outcome.STALE, Outcome.HELD, Outcome.RACED):
                again.append(row.job)
            elif outcome is Outcome.REPLAY and result.response is not None:
                _resolve(row.job, Answer(result.response, True, None))
            else:
                _fail(row.job, _refusal(rules, result))
        if committed:
            self._committed(self._index)
        return again

    def _learn(self, row: Prepared, result: Result) -> bool:
        """Put what the database says of a player into the index; False when that is not news."""
        ranking, user_id = self._board.ranking, row.job.user_id
        if result.score is None or result.reached_us is None or result.version is None:
            # Our index has a score the shard does not: the player was erased.
            return ranking.remove(user_id)
        found = Row(
            user_id,
            result.score,
            result.reached_us,
            result.version,
            result.username,
            result.display_name,
            result.user_version,
        )
        return ranking.correct(found, row.expected_version)


def _refusal(rules: Rules, result: Result) -> Problem:
    """Return the problem for a row the statement refused for good (pure)."""
    if result.outcome is Outcome.REUSED:
        return Problem("idempotency-key-reused")
    if result.outcome is Outcome.REPLAY:
        return Problem("idempotency-in-flight", retry_after=1)
    if result.outcome is Outcome.SUSPENDED:
        return Problem("forbidden", "This player may not post scores at the moment.")
    if result.outcome is Outcome.LIMITED:
        headers = limit_headers(rules.updates_per_minute, 0, result.retry_after)
        return Problem(
            "rate-limited",
            f"A player may post {rules.updates_per_minute} updates a minute.",
            retry_after=result.retry_after,
            headers=headers,
        )
    return Problem("not-found", "There is no such player.")


def limit_headers(quota: int, remaining: int, seconds: float) -> dict[str, str]:
    """Return the RateLimit fields for a quota per minute (pure)."""
    return {
        "RateLimit-Policy": f'"score-updates";q={quota};w=60',
        "RateLimit": f'"score-updates";r={remaining};t={max(1, -int(-seconds // 1))}',
    }


def _unavailable() -> Problem:
    return Problem(
        "unavailable",
        "The write is not known to be saved; send it again with the same Idempotency-Key.",
        retry_after=1,
    )


def _resolve(job: Job, answer: Answer) -> None:
    if not job.answer.done():
        job.answer.set_result(answer)


def _fail(job: Job, problem: Problem) -> None:
    if not job.answer.done():
        job.answer.set_exception(problem)
