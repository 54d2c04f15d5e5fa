"""The outbox: events leave in the transaction that caused them and reach Kafka afterwards.

A writer inserts its events beside its rows (`insert`), commits, and calls `OutboxRelay.wake`. Per
shard and service one relay at a time, the holder of a fenced lease, publishes the service's own
topics in order of id and deletes what Kafka acknowledged. What it did not acknowledge stays, with
the later rows of the same keys, and the relay goes on past them: one bad partition or topic holds
up nothing else. Delivery is at least once and in order per key:

* ids of one key grow in commit order, because its writers serialise on the row they change;
* a relay that is killed, or loses its lease while publishing, leaves rows that its successor
  publishes again. Its fence keeps it from deleting after the successor began. A duplicate may
  then arrive late; each event carries its entity's version and readers drop what they have seen.

A writer in a pod that does not hold the lease wakes the holder by NOTIFY after its commit, never
inside the transaction: NOTIFY holds a database-wide lock until the commit is replicated.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import structlog

from scoreboard.kit.kafka import KafkaUnavailable, Message, Producer
from scoreboard.kit.shards import Shard, Shards

log = structlog.get_logger("scoreboard.outbox")

LEASE_SECONDS: Final = 8.0
MARGIN_SECONDS: Final = 2.0
"""The lease is not used in its last two seconds: clocks and networks are not exact."""
SWEEP_SECONDS: Final = 1.0
"""The holder looks for rows this often even when nobody woke it."""
STANDBY_SECONDS: Final = 2.0
BATCH: Final = 500
STATEMENT_SECONDS: Final = 5.0
PUBLISH_SECONDS: Final = 3.0
"""How long one partition that does not answer may hold up what is published beside it."""

_TAKE: Final = """
INSERT INTO outbox_lease AS l (name, holder, fence, expires_at)
VALUES ($1, $2, 1, clock_timestamp() + $3 * interval '1 second')
ON CONFLICT (name) DO UPDATE SET
  holder = excluded.holder, expires_at = excluded.expires_at,
  fence = CASE WHEN l.holder = excluded.holder AND l.expires_at > clock_timestamp()
               THEN l.fence ELSE l.fence + 1 END
WHERE l.holder = excluded.holder OR l.expires_at < clock_timestamp()
RETURNING fence
"""
_RELEASE: Final = (
    "UPDATE outbox_lease SET expires_at = clock_timestamp() - interval '1 second'"
    " WHERE name = $1 AND holder = $2 AND fence = $3"
)
_PENDING: Final = (
    "SELECT id, topic, key, payload, headers FROM outbox"
    " WHERE topic = ANY($1::text[]) AND id > $2 ORDER BY id LIMIT $3"
)
# Losing a delete in a crash only publishes again, so it need not wait for the standby.
_DELETE: Final = """
DELETE FROM outbox WHERE id = ANY($1::bigint[])
AND EXISTS (SELECT 1 FROM outbox_lease WHERE name = $2 AND holder = $3 AND fence = $4)
AND (SELECT set_config('synchronous_commit', 'off', true)) IS NOT NULL
"""
_WAKE: Final = "BEGIN; SET LOCAL synchronous_commit TO off; NOTIFY {}; COMMIT"
_INSERT: Final = (
    "INSERT INTO outbox (bucket, topic, key, payload, headers, created_at)"
    " VALUES ($1, $2, $3, $4, $5::jsonb, clock_timestamp())"
)


async def insert(
    connection: Any,
    *,
    bucket: int,
    topic: str,
    key: str,
    payload: bytes,
    headers: Mapping[str, str],
) -> None:
    """Add an event to the outbox; call it in the transaction that changes the entity."""
    await connection.execute(_INSERT, bucket, topic, key, payload, json.dumps(dict(headers)))


def channel(name: str) -> str:
    """Return the NOTIFY channel of a service's relays (pure); an identifier as the name is."""
    return f"outbox_{name}"


def message_of(row: Mapping[str, Any]) -> Message:
    """Return the Kafka message of an outbox row (pure)."""
    headers = row["headers"]
    if isinstance(headers, str):
        headers = json.loads(headers)
    return Message(
        row["topic"],
        str(row["key"]).encode(),
        bytes(row["payload"]),
        [(name, str(value).encode()) for name, value in (headers or {}).items()],
    )


class _ShardRelay:
    """Publishes one shard's outbox while it holds the lease."""

    def __init__(
        self,
        shards: Shards,
        index: int,
        producer: Producer,
        holder: str,
        name: str,
        topics: Sequence[str],
    ) -> None:
        self._shards = shards
        self._index = index
        self._producer = producer
        self._holder = holder
        self._name = name
        self._topics = list(topics)
        self._wake = asyncio.Event()
        self._lease_until = float("-inf")
        self._after = 0
        """Rows up to this id were tried in this round; beyond 0 only when some of them stayed."""
        self._kept: set[tuple[str, str]] = set()
        """Topic and key of the rows that stayed in this round; later rows of theirs stay too."""
        self.published = 0

    @property
    def holding(self) -> bool:
        """Whether this process may publish now."""
        return time.monotonic() < self._lease_until

    def wake(self) -> None:
        self._wake.set()

    def _shard(self) -> Shard | None:
        return self._shards.at(self._index)

    async def run(self) -> None:
        """Relay until cancelled; every failure is logged and tried again."""
        while True:
            shard = self._shard()
            if shard is None:
                return  # the shard map no longer has this shard
            try:
                async with shard.hold() as connection:
                    await self._session(connection)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("relay lost its shard", shard=self._index, error=repr(error))
            self._lease_until = float("-inf")
            await asyncio.sleep(1.0)

    async def _session(self, connection: Any) -> None:
        listening = False
        fence: int | None = None
        try:
            while True:
                asked = time.monotonic()
                fence = await connection.fetchval(
                    _TAKE, self._name, self._holder, LEASE_SECONDS, timeout=STATEMENT_SECONDS
                )
                if fence is None:
                    self._lease_until = float("-inf")
                    await asyncio.sleep(STANDBY_SECONDS)
                    continue
                if not listening:
                    await connection.add_listener(channel(self._name), lambda *_: self._wake.set())
                    listening = True
                self._lease_until = asked + LEASE_SECONDS - MARGIN_SECONDS
                renew_at = asked + LEASE_SECONDS / 3
                while time.monotonic() < renew_at:
                    await self._drain(connection, fence)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SWEEP_SECONDS):
                            await self._wake.wait()
        finally:
            # A polite end lets the next relay start at once; a kill makes it wait for the lease.
            self._lease_until = float("-inf")
            if fence is not None and not connection.is_closed():
                with contextlib.suppress(Exception):
                    await asyncio.shield(
                        connection.execute(_RELEASE, self._name, self._holder, fence, timeout=1.0)
                    )

    async def _drain(self, connection: Any, fence: int) -> None:
        """Publish and delete until every row was tried or the lease is due.

        A page of which nothing could be published ends the call; the next one goes on behind it.
        """
        while self.holding:
            self._wake.clear()  # before the read: a wake during it must not be lost
            rows = await connection.fetch(
                _PENDING, self._topics, self._after, BATCH, timeout=STATEMENT_SECONDS
            )
            try:
                done = await self._publish(rows)
            except KafkaUnavailable as error:
                log.warning("events wait for Kafka", shard=self._index, error=str(error))
                await asyncio.sleep(0.5)
                return
            last = len(rows) < BATCH
            if last or not self._kept:
                self._after = 0
                self._kept.clear()
            else:
                self._after = rows[-1]["id"]
            if done:
                await connection.execute(
                    _DELETE, done, self._name, self._holder, fence, timeout=STATEMENT_SECONDS
                )
                self.published += len(done)
            if last or not done:
                return

    async def _publish(self, rows: Sequence[Mapping[str, Any]]) -> list[int]:
        """Send rows and return the ids of those that are done with; remember whose stayed."""
        sent = [row for row in rows if (row["topic"], row["key"]) not in self._kept]
        if not sent:
            return []
        # No longer than the lease: the rows are deleted under it.
        seconds = min(PUBLISH_SECONDS, self._lease_until - time.monotonic())
        acknowledged = await self._producer.send_all([message_of(row) for row in sent], seconds)
        done: list[int] = []
        for row, arrived in zip(sent, acknowledged, strict=True):
            place = (row["topic"], row["key"])
            if not arrived:
                self._kept.add(place)
            if place not in self._kept:
                done.append(row["id"])
        if len(done) < len(sent):
            log.warning("events stay", shard=self._index, rows=len(sent) - len(done))
        return done


class OutboxRelay:
    """The relays of every shard in this process.

    `name` is the service's: its replicas share a lease, and publish `topics` and no others.
    """

    def __init__(
        self, shards: Shards, producer: Producer, *, holder: str, name: str, topics: Sequence[str]
    ) -> None:
        self._shards = shards
        self._producer = producer
        self._holder = holder
        self._name = name
        self._topics = tuple(topics)
        self._relays: dict[int, tuple[_ShardRelay, asyncio.Task[None]]] = {}
        self._notifying: dict[int, bool] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None

    @property
    def published(self) -> int:
        """How many events this process has published."""
        return sum(relay.published for relay, _ in self._relays.values())

    async def start(self) -> None:
        """Start relaying in the background."""
        self._keeper = asyncio.ensure_future(self._keep())

    async def close(self) -> None:
        """Stop relaying and give the leases up."""
        tasks = [task for _, task in self._relays.values()] + list(self._tasks)
        if self._keeper is not None:
            tasks.append(self._keeper)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self, shard_index: int) -> None:
        """Hand over what was just committed on a shard; returns at once and never fails."""
        found = self._relays.get(shard_index)
        if found is not None and found[0].holding:
            found[0].wake()
        elif shard_index in self._notifying:
            self._notifying[shard_index] = True  # one more when the one under way is done
        else:
            self._notifying[shard_index] = False
            task = asyncio.ensure_future(self._notify(shard_index))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _notify(self, index: int) -> None:
        wake = _WAKE.format(channel(self._name))
        try:
            while True:
                self._notifying[index] = False
                shard = self._shards.at(index)
                if shard is None:
                    return
                await shard.run(lambda connection: connection.execute(wake), deadline=1.0)
                if not self._notifying[index]:
                    return
        except (OSError, asyncpg.PostgresError) as error:
            log.debug("holder not woken, its sweep will find the rows", error=repr(error))
        finally:
            self._notifying.pop(index, None)

    async def _keep(self) -> None:
        """Keep one running relay per shard of the newest map."""
        while True:
            for shard in self._shards.all():
                known = self._relays.get(shard.index)
                if known is not None and not known[1].done():
                    continue
                if known is not None and not known[1].cancelled() and known[1].exception():
                    log.error("relay failed", shard=shard.index, exc_info=known[1].exception())
                relay = _ShardRelay(
                    self._shards,
                    shard.index,
                    self._producer,
                    self._holder,
                    self._name,
                    self._topics,
                )
                self._relays[shard.index] = (relay, asyncio.ensure_future(relay.run()))
            await asyncio.sleep(5.0)
