"""A board that builds itself and stays live: snapshot of every shard, then Kafka.

The offsets are taken before the snapshot is read, so whatever the snapshot misses is in the log
after them; versions make the overlap harmless. The snapshot is read from the primaries, since a
replica could lack a row whose event lies before those offsets. While Kafka is away the board is
refreshed from snapshots every few seconds and says that it may be stale.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from scoreboard.kit.kafka import KafkaUnavailable, PartitionReader, PositionLost, Record
from scoreboard.kit.ranking import Ranking, Row, microseconds
from scoreboard.kit.settings import SettingsError
from scoreboard.kit.shards import Shard, Shards

log = structlog.get_logger("scoreboard.board")

SCORE_UPDATES: Final = "score_updates"
USER_ACTIONS: Final = "user_actions"
PAGE_ROWS: Final = 5_000
SNAPSHOT_SECONDS: Final = 10.0
HEARTBEAT_SECONDS: Final = 2.0
HEARTBEAT_TIMEOUT: Final = 3.0
OUTAGE_REFRESH_SECONDS: Final = 5.0
RETRY_SECONDS = 1.0

_PAGE: Final = """
SELECT s.user_id, s.current_score, s.reached_at, s.version, u.username, u.display_name
FROM scores s JOIN users u ON u.id = s.user_id
WHERE s.user_id > $1 ORDER BY s.user_id LIMIT $2
"""
_FIRST: Final = UUID(int=0)

Observer = Callable[[], None]


class _ScoreEvent(msgspec.Struct):
    user_id: UUID
    score: int
    version: int
    reached_at: datetime
    username: str = ""
    display_name: str = ""


class _UserEvent(msgspec.Struct):
    type: str
    user_id: UUID
    username: str | None = None
    display_name: str | None = None


def apply_record(ranking: Ranking, record: Record) -> None:
    """Apply one Kafka record to a ranking; what does not parse is logged and passed over."""
    try:
        if record.topic == SCORE_UPDATES:
            event = msgspec.json.decode(record.value, type=_ScoreEvent)
            ranking.apply(
                Row(
                    event.user_id,
                    event.score,
                    microseconds(event.reached_at),
                    event.version,
                    event.username,
                    event.display_name,
                )
            )
            return
        action = msgspec.json.decode(record.value, type=_UserEvent)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        log.error(
            "event passed over",
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            error=str(error),
        )
        return
    if action.type == "profile.updated":
        ranking.rename(action.user_id, action.username, action.display_name)
    elif action.type in ("user.deleted", "user.erased"):
        ranking.remove(action.user_id)


class Board:
    """The live index of the all-time board. Start it once per process."""

    def __init__(self, shards: Shards, reader: PartitionReader) -> None:
        self.ranking = Ranking()
        self.complete = False
        """Whether every acknowledged score up to the start is in the index."""
        self.live = False
        """Whether events arrive; a complete board that is not live may be some seconds old."""
        self.on_reload: Observer = lambda: None
        """Called after rows were loaded in bulk, when single changes were not announced."""
        self.on_user_action: Callable[[Record], None] = lambda _: None
        self._shards = shards
        self._reader = reader
        self._task: asyncio.Task[None] | None = None
        self.took_seconds = 0.0

    async def start(self) -> None:
        """Start building in the background."""
        self._task = asyncio.ensure_future(self._run())

    async def close(self) -> None:
        """Stop following."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._reader.close()

    def not_ready(self) -> str | None:
        """Return why ranks cannot be answered yet, or None (a health check)."""
        if self._task is not None and self._task.done():
            return "the board is not followed any more"
        return None if self.complete else "the rank index is being built"

    def not_live(self) -> str | None:
        """Return why the board may be stale, or None (a health check that does not require)."""
        return None if self.live else "no events from Kafka, refreshed from the database"

    async def _run(self) -> None:
        while True:
            try:
                await self._cycle()
            except (KafkaUnavailable, PositionLost, OSError, SettingsError) as error:
                log.warning("board is not live", error=str(error))
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("board cannot be read", error=repr(error))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody asked us to end: a library let a cancellation of its own escape.
                log.warning("board was interrupted, building it anew")
            except Exception as error:
                log.error("board failed, building it anew", exc_info=error)
            finally:
                self.live = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _cycle(self) -> None:
        """Build and follow until something fails."""
        began = time.monotonic()
        try:
            ends = await self._reader.start()
        except KafkaUnavailable:
            await self._snapshot()
            if not self.complete:
                log.warning("board complete without Kafka", players=len(self.ranking))
            self.complete = True
            await asyncio.sleep(OUTAGE_REFRESH_SECONDS)
            raise
        await self._snapshot()
        # What was committed before the offsets is in the snapshot; nothing is missing now.
        self.complete = self.live = True
        self.took_seconds = time.monotonic() - began
        log.info(
            "board complete",
            players=len(self.ranking),
            seconds=round(self.took_seconds, 3),
            partitions=len(ends),
        )
        heartbeat = asyncio.ensure_future(self._heartbeat())
        try:
            while not heartbeat.done():
                for record in await self._reader.read(timeout=0.5):
                    apply_record(self.ranking, record)
                    if record.topic == USER_ACTIONS:
                        self.on_user_action(record)
            await heartbeat
        finally:
            heartbeat.cancel()

    async def _heartbeat(self) -> None:
        """Ask Kafka for something regularly, because a read alone waits in silence for ever."""
        turn = 0
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                async with asyncio.timeout(HEARTBEAT_TIMEOUT):
                    await self._reader.ends()
                    turn += 1
                    if turn % 5 == 0:
                        await self._reader.follow_partitions()
            except TimeoutError:
                raise KafkaUnavailable("Kafka does not answer") from None

    async def _snapshot(self) -> None:
        """Read every shard; rows whose version is known change nothing."""
        loaded = await asyncio.gather(*(self._read_shard(shard) for shard in self._shards.all()))
        if any(loaded):
            self.on_reload()

    async def _read_shard(self, shard: Shard) -> int:
        after = _FIRST
        news = 0
        pages: list[Row] = []
        while True:

            async def work(connection: Any, after: UUID = after) -> list[Any]:
                return list(await connection.fetch(_PAGE, after, PAGE_ROWS))

            found = await shard.run(work, deadline=SNAPSHOT_SECONDS, idempotent=True)
            pages.extend(
                Row(row[0], row[1], microseconds(row[2]), row[3], row[4], row[5]) for row in found
            )
            if len(found) < PAGE_ROWS:
                break
            after = found[-1][0]
        news += self.ranking.load(pages)
        return news
