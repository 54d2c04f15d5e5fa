"""A board that builds itself and stays live: snapshot of every shard, and Kafka.

The offsets are taken before the snapshot is read, so whatever the snapshot misses is in the log
after them; versions make the overlap harmless. The snapshot is read from the primaries, since a
replica could lack a row whose event lies before those offsets. It is read while events are
followed, so a shard that is away holds up nothing but the first completion.

After an interruption events are read on from where they were. Only when that place is lost is
everything read again. While Kafka is away the board is refreshed from snapshots every few seconds
and says that it may be stale.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from scoreboard.kit.kafka import KafkaUnavailable, Place
from scoreboard.kit.kafka_reader import PartitionReader, PositionLost, Record
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
SELECT s.user_id, s.current_score, s.reached_at, s.version, u.username, u.display_name,
  u.version
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
    user_version: int = 0


class _UserEvent(msgspec.Struct):
    type: str
    user_id: UUID
    username: str | None = None
    display_name: str | None = None
    version: int = 0
    """Of the user, in profile.updated."""


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
                    event.user_version,
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
        ranking.rename(action.user_id, action.username, action.display_name, action.version)
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
        self._unread: set[int] = set()
        """Shards whose rows may have changed before the place where events are read from."""
        self._ends: Mapping[Place, int] = {}
        """Where the log ended when it was last connected to: before that, events are old."""
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
            except PositionLost as error:
                log.warning("events were lost, building the board anew", error=str(error))
                self._reader.forget()
            except (KafkaUnavailable, OSError, SettingsError) as error:
                log.warning("board is not live", error=str(error))
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                # Nobody asked us to end: a library let a cancellation of its own escape.
                log.warning("board was interrupted, reading on")
            except Exception as error:
                log.error("board failed, reading on", exc_info=error)
            finally:
                self.live = False
            await asyncio.sleep(RETRY_SECONDS)

    async def _cycle(self) -> None:
        """Build what is missing and follow until something fails."""
        began = time.monotonic()
        anew = not self._reader.positions
        if anew:
            self._unread = {shard.index for shard in self._shards.all()}
        try:
            self._ends = await self._reader.start()
        except KafkaUnavailable:
            await self._outage()
            raise
        self._check_live()
        helpers = [asyncio.ensure_future(self._heartbeat())]
        if self._unread:
            helpers.append(asyncio.ensure_future(self._fill(began)))
        try:
            while not any(helper.done() and helper.exception() for helper in helpers):
                for record in await self._reader.read(timeout=0.5):
                    self._take(record)
                self._check_live()
            await asyncio.gather(*(helper for helper in helpers if helper.done()))
        finally:
            for helper in helpers:
                helper.cancel()

    def _take(self, record: Record) -> None:
        """Apply a record; one that cannot be must not take its neighbours along."""
        try:
            apply_record(self.ranking, record)
            if record.topic == USER_ACTIONS:
                self.on_user_action(record)
        except Exception as error:
            log.error("event not applied", offset=record.offset, exc_info=error)

    def _check_live(self) -> None:
        """Say that the board is live once every row was read and every old event applied."""
        positions = self._reader.positions
        if not self._unread and all(positions[place] >= end for place, end in self._ends.items()):
            self.complete = self.live = True

    async def _outage(self) -> None:
        """Read what the database has while Kafka is away.

        This does for a first answer too: nothing acknowledged is missing. Shards that were read
        before events are followed from their ends are read once more by the next `_cycle`.
        """
        away = await self._snapshot({shard.index for shard in self._shards.all()})
        if not self.complete and not away:
            log.warning("board complete without Kafka", players=len(self.ranking))
            self.complete = True
        await asyncio.sleep(OUTAGE_REFRESH_SECONDS)

    async def _fill(self, began: float) -> None:
        """Read the shards that were not read yet, for as long as it takes."""
        while self._unread:
            self._unread = await self._snapshot(self._unread)
            if self._unread:
                await asyncio.sleep(RETRY_SECONDS)
        self._check_live()
        self.took_seconds = time.monotonic() - began
        seconds = round(self.took_seconds, 3)
        log.info("every shard was read", players=len(self.ranking), seconds=seconds)

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

    async def _snapshot(self, wanted: set[int]) -> set[int]:
        """Read some shards and return those that could not be read.

        Rows whose version is known change nothing.
        """
        shards = [shard for shard in self._shards.all() if shard.index in wanted]
        results = await asyncio.gather(
            *(self._read_shard(shard) for shard in shards), return_exceptions=True
        )
        away: set[int] = set()
        news = False
        for shard, result in zip(shards, results, strict=True):
            if isinstance(result, BaseException):
                away.add(shard.index)
                log.warning("shard cannot be read", shard=shard.index, error=repr(result))
            else:
                news = news or result > 0
        if news:
            self.on_reload()
        return away

    async def _read_shard(self, shard: Shard) -> int:
        since = self.ranking.changes
        after = _FIRST
        pages: list[Row] = []
        while True:

            async def work(connection: Any, after: UUID = after) -> list[Any]:
                return list(await connection.fetch(_PAGE, after, PAGE_ROWS))

            found = await shard.run(work, deadline=SNAPSHOT_SECONDS, idempotent=True)
            pages.extend(Row(row[0], row[1], microseconds(row[2]), *row[3:]) for row in found)
            if len(found) < PAGE_ROWS:
                break
            after = found[-1][0]
        return self.ranking.load(pages, since)
