"""What the score service does, apart from HTTP: accept writes, answer reads."""

import asyncio
import base64
import binascii
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from scoreboard.kit.board import Board
from scoreboard.kit.cache import Cache
from scoreboard.kit.identity import bucket_of
from scoreboard.kit.problems import Problem, invalid
from scoreboard.kit.ranking import microseconds, timestamp
from scoreboard.kit.shards import Shards, ShardUnavailable
from scoreboard.kit.tokens import Claims
from scoreboard.scores import pages as pages_module
from scoreboard.scores import repository
from scoreboard.scores.models import Answer, Job, ScoreUpdate
from scoreboard.scores.pages import Page, Pages
from scoreboard.scores.rules import Rules, check_change
from scoreboard.scores.writer import ShardWriter

log = structlog.get_logger("scoreboard.scores")

WRITE_SECONDS: Final = 5.0
NONCE_SECONDS: Final = 120
"""Longer than a signature is accepted, so that a nonce outlives its signature."""
PUBLISH_SECONDS: Final = 0.1
SHARED_PAGE_SECONDS: Final = 3600
SHARED_LIMITS: Final = (10, 50, pages_module.DEFAULT_LIMIT)
"""Top pages that are kept in Redis, as the answer of a pod whose index is not built yet."""
EXPIRE_SECONDS: Final = 10.0
NEWEST: Final = (datetime(9999, 1, 1, tzinfo=UTC), UUID(int=2**128 - 1))


def shared_page_key(limit: int) -> str:
    """Return the Redis key of the all-time board's top page."""
    return f"sb:board:{{all}}:top:{limit}"


class ScoreService:
    """Score writes and board reads of one process."""

    def __init__(
        self,
        shards: Shards,
        cache: Cache,
        board: Board,
        rules: Callable[[], Rules],
        committed: Callable[[int], None],
    ) -> None:
        self._shards = shards
        self._cache = cache
        self._board = board
        self.rules = rules
        self._committed = committed
        self.pages = Pages(board.ranking)
        board.on_reload = self.pages.clear
        self._writers: dict[int, ShardWriter] = {}
        self._in_flight: dict[tuple[UUID, str], bytes] = {}

    async def close(self) -> None:
        """Finish the writes that were accepted for commit."""
        await asyncio.gather(*(writer.close() for writer in self._writers.values()))

    async def submit(
        self, claims: Claims, key: str, update: ScoreUpdate, address: str | None
    ) -> Answer:
        """Commit one score update and return its answer.

        Raises Problem: unavailable (no index yet, shard away), rule-violated, rate-limited,
        idempotency-key-reused, idempotency-in-flight, forbidden, not-found.
        """
        self._require_board()
        place = (claims.user_id, key)
        payload_hash = update.payload_hash()
        running = self._in_flight.get(place)
        if running is not None:
            if running != payload_hash:
                raise Problem("idempotency-key-reused")
            raise Problem("idempotency-in-flight", retry_after=1)
        loop = asyncio.get_running_loop()
        bucket = bucket_of(claims.user_id)
        job = Job(
            user_id=claims.user_id,
            bucket=bucket,
            session_id=claims.session_id,
            ip_address=address,
            key=key,
            payload_hash=payload_hash,
            update=update,
            event_id=uuid.uuid4(),
            deadline=loop.time() + WRITE_SECONDS,
            answer=loop.create_future(),
        )
        writer = self._writer(self._shards.map.shard_of_bucket(bucket))
        self._in_flight[place] = payload_hash
        try:
            try:
                check_change(self.rules(), update.action_type, update.change)
            except Problem as problem:
                writer.refuse(job, problem)
            else:
                writer.submit(job)
            return await job.answer
        finally:
            del self._in_flight[place]

    def _writer(self, index: int) -> ShardWriter:
        writer = self._writers.get(index)
        if writer is None:
            writer = ShardWriter(index, self._shards, self._board, self.rules, self._committed)
            self._writers[index] = writer
        return writer

    async def use_nonce(self, session_id: UUID, nonce: str, key: str) -> None:
        """Tie a nonce to the Idempotency-Key it first came with.

        The same request sent again is answered by idempotency; a captured signature with another
        key raises Problem nonce-replayed. With Redis away the timestamp alone bounds its use.
        """
        name = f"sb:nonce:{{{session_id}}}:{nonce}"
        if await self._cache.add(name, key, NONCE_SECONDS) is False:
            first = await self._cache.get(name)
            if first is not None and first != key.encode():
                raise Problem("nonce-replayed")

    def _require_board(self) -> None:
        if not self._board.complete:
            raise Problem("unavailable", "The rank index is being built.", retry_after=1)

    @property
    def stale(self) -> bool:
        """Whether reads may be some seconds behind other replicas."""
        return not self._board.live

    async def leaderboard(
        self, limit: int, cursor: str | None, around: UUID | None
    ) -> tuple[Page, bool]:
        """Return a page of the board and whether it may be stale.

        Raises Problem unavailable while the index is built and Redis has no page either,
        not-found when the player of `around` has no score, invalid-request on a foreign cursor.
        """
        if not self._board.complete:
            body = None
            if cursor is None and around is None:
                body = await self._cache.get(shared_page_key(limit))
            if body is None:
                self._require_board()
            assert body is not None
            body = pages_module.labelled_stale(body)
            return Page(body, pages_module.etag_of(body), None), True
        if cursor is not None:
            return self.pages.after(pages_module.decode_cursor(cursor), limit), self.stale
        if around is not None:
            page = self.pages.around(around, limit)
            if page is None:
                raise Problem("not-found", "This player has no score on the board.")
            return page, self.stale
        return self.pages.top(limit), self.stale

    async def score_of(self, user_id: UUID) -> dict[str, Any]:
        """Return a player's score and rank. Raises Problem not-found or unavailable."""
        self._require_board()
        ranking = self._board.ranking
        if ranking.entry(user_id) is None:
            # Written by another replica a moment ago, perhaps: the event is on its way.
            row = await self._shards.for_user(user_id).run(
                lambda c: repository.current(c, user_id), deadline=2.0, idempotent=True
            )
            if row is None:
                raise Problem("not-found", "This player has no score.")
            ranking.apply(row)
        entry = ranking.entry(user_id)
        assert entry is not None
        return {
            "user_id": str(user_id),
            "score": entry.score,
            "rank": ranking.rank(user_id),
            "version": entry.version,
            "reached_at": timestamp(entry.reached_us),
        }

    async def history(self, user_id: UUID, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a player's accepted updates, newest first, and the cursor of what follows."""
        before = decode_history_cursor(cursor) if cursor else NEWEST
        rows = await self._shards.for_user(user_id).read(
            lambda c: repository.history(c, user_id, before, limit + 1)
        )
        more = len(rows) > limit
        rows = rows[:limit]
        last = rows[-1] if rows and more else None
        return {
            "entries": [
                {
                    "id": str(row["id"]),
                    "change": row["score_change"],
                    "action_type": row["action_type"],
                    "score": row["resulting_score"],
                    "version": row["version"],
                    "at": timestamp(microseconds(row["timestamp"])),
                }
                for row in rows
            ],
            "next_cursor": encode_history_cursor(last["timestamp"], last["id"]) if last else None,
        }

    async def publish_pages(self) -> None:
        """Keep the top pages in Redis for pods that start; run it as a task.

        At most every 100 ms, and only what changed.
        """
        published: dict[int, str] = {}
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            if not self._board.complete:
                continue
            for limit in SHARED_LIMITS:
                page = self.pages.top(limit)
                if published.get(limit) != page.etag and await self._cache.set(
                    shared_page_key(limit), page.body, SHARED_PAGE_SECONDS
                ):
                    published[limit] = page.etag

    async def expire_keys(self) -> None:
        """Forget idempotency keys older than a day; run it as a task."""
        while True:
            await asyncio.sleep(EXPIRE_SECONDS)
            for shard in self._shards.all():
                try:
                    await shard.run(repository.expire_keys, idempotent=True)
                except (ShardUnavailable, asyncpg.PostgresError) as error:
                    log.info("keys not expired", shard=shard.index, error=str(error))


def encode_history_cursor(moment: datetime, row_id: UUID) -> str:
    """Return the cursor that continues after a history row."""
    raw = microseconds(moment).to_bytes(8, "big") + row_id.bytes
    return base64.urlsafe_b64encode(raw).decode()


def decode_history_cursor(text: str) -> tuple[datetime, UUID]:
    """Return the place in a cursor. Raises Problem invalid-request when it is not one of ours."""
    try:
        raw = base64.b64decode(text, altchars=b"-_", validate=True)
        if len(raw) != 24:
            raise ValueError("length")
        moment = datetime.fromisoformat(timestamp(int.from_bytes(raw[:8], "big")))
        return moment, UUID(bytes=raw[8:])
    except (binascii.Error, ValueError, OverflowError) as error:
        raise invalid("cursor", "not a cursor of this history") from error
