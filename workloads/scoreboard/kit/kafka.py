"""Kafka over SASL_SSL: a producer that acknowledges in full, and a reader of whole topics.

Neither is needed for a service to start. While Kafka is away `Producer.send_all` raises
KafkaUnavailable, and `PartitionReader` is simply started again by its owner, and reads on.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import aiokafka.errors
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from scoreboard.kit import postgres
from scoreboard.kit.settings import Settings, SettingsError, WatchedFile

T = TypeVar("T")
log = structlog.get_logger("scoreboard.kafka")

REQUEST_MS: Final = 10_000
METADATA_MS: Final = 10_000
"""New partitions and moved leaders are noticed within this time even when nothing fails."""
START_SECONDS: Final = 15.0
ANSWER_SECONDS: Final = 5.0
SEND_SECONDS: Final = 15.0
"""Longer than aiokafka's own limit (REQUEST_MS), which normally decides."""
STOP_SECONDS: Final = 3.0


class KafkaUnavailable(ConnectionError):  # noqa: N818  a state of the world, not a bug
    """Kafka did not acknowledge; what was sent may or may not have arrived."""


class PositionLost(RuntimeError):  # noqa: N818
    """The log no longer holds the wanted offset: state built from it must be built anew."""


@dataclass(frozen=True)
class Message:
    """One record to send; records with the same key keep their order."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


@dataclass(frozen=True)
class Record:
    """One record that was read."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


@dataclass
class KafkaAccess:
    """How to reach Kafka. Without a password file the connection is plain (developer set-ups)."""

    bootstrap: str
    username: str
    password_file: Path | None
    ca_file: Path | None
    _password: WatchedFile[str] | None = field(init=False, default=None)
    _ca: WatchedFile[Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.password_file is not None:
            self._password = WatchedFile(self.password_file, lambda raw: raw.decode().strip())
        if self.ca_file is not None:
            self._ca = WatchedFile(self.ca_file, postgres.tls_context)

    @classmethod
    def from_settings(cls, settings: Settings) -> "KafkaAccess":
        """Build from a service's settings; the SASL user is the service's name."""
        return cls(
            settings.kafka_bootstrap,
            settings.service,
            settings.config_dir / "credentials" / "kafka-password",
            settings.tls_dir / "ca.crt",
        )

    def options(self, client_id: str) -> dict[str, Any]:
        """Return aiokafka's connection options, with the password and CA of this moment.

        Raises SettingsError when a file is not there yet.
        """
        options: dict[str, Any] = {
            "bootstrap_servers": self.bootstrap,
            "client_id": client_id,
            "request_timeout_ms": REQUEST_MS,
            "metadata_max_age_ms": METADATA_MS,
        }
        if self._ca is not None:
            options |= {"security_protocol": "SSL", "ssl_context": self._ca.get()}
        if self._password is not None:
            options |= {
                "security_protocol": "SASL_SSL" if self._ca is not None else "SASL_PLAINTEXT",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": self.username,
                "sasl_plain_password": self._password.get(),
            }
        return options


_FAILURES: Final = (
    aiokafka.errors.KafkaError,
    OSError,
    TimeoutError,
    SettingsError,
    ValueError,
    RuntimeError,
)


_LOST: Final = (
    aiokafka.errors.OffsetOutOfRangeError,
    aiokafka.errors.NoOffsetForPartitionError,
)

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""


async def bounded(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """Await `work` for at most `seconds`, then leave it behind. Raises TimeoutError.

    asyncio.timeout() cancels and then waits for the end; parts of aiokafka swallow a cancellation
    and wait on, for ever when their broker is gone.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_forget)
    if not task.done():
        raise TimeoutError(f"no answer from Kafka within {seconds} s")
    if task.cancelled():
        # Cancelled from within: aiokafka gave up one of its own futures. Let through, it would
        # end the caller's task as if somebody had asked for that.
        raise TimeoutError("aiokafka gave the call up")
    return task.result()


def _forget(task: "asyncio.Task[Any]") -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that it is not reported as never retrieved


class Producer:
    """An idempotent producer with acks=all, connected when first needed."""

    def __init__(self, access: KafkaAccess, client_id: str) -> None:
        self._access = access
        self._client_id = client_id
        self._producer: Any = None
        self._starting = asyncio.Lock()
        self._up: bool | None = None

    def state(self) -> str:
        """Return up, down, or unknown before the first use."""
        return {True: "up", False: "down", None: "unknown"}[self._up]

    async def start(self) -> None:
        """Do nothing but exist: the connection is made by the first `send_all`."""

    async def close(self) -> None:
        """Send what is pending and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await _stop(producer)

    async def send_all(self, messages: Sequence[Message]) -> None:
        """Send messages in order and return when every one is acknowledged by all in-sync replicas.

        Raises KafkaUnavailable when any is not within about 10 s; some may have arrived, so the
        caller sends all of them again later.
        """
        producer = None
        try:
            producer = await self._connected()
            await bounded(_send(producer, messages), SEND_SECONDS)
        except _FAILURES as error:
            self._up = False
            # An idempotent producer that lost its sequence never recovers; a new one does.
            if self._producer is producer:
                self._producer = None
            if producer is not None:
                await _stop(producer)
            raise KafkaUnavailable(repr(error)) from error
        self._up = True

    async def _connected(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = AIOKafkaProducer(
                    acks="all",
                    enable_idempotence=True,
                    linger_ms=0,
                    max_batch_size=131_072,
                    **self._access.options(self._client_id),
                )
                try:
                    await bounded(producer.start(), START_SECONDS)
                except BaseException:
                    await _stop(producer)
                    raise
                self._producer = producer
            return self._producer


async def _send(producer: Any, messages: Sequence[Message]) -> None:
    pending = [
        await producer.send(
            message.topic, key=message.key, value=message.value, headers=list(message.headers)
        )
        for message in messages
    ]
    results = await asyncio.gather(*pending, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class PartitionReader:
    """Reads every partition of some topics without a consumer group, from their ends on.

    Its positions outlive a connection, so a restart misses nothing that the log still holds.

    Every pod reads everything, so there is nothing to rebalance and nothing to commit. Partitions
    that are added while it runs are read from their beginning.
    """

    def __init__(self, access: KafkaAccess, topics: Sequence[str], client_id: str) -> None:
        self._access = access
        self._topics = tuple(topics)
        self._client_id = client_id
        self._consumer: Any = None
        self._positions: dict[Place, int] = {}

    @property
    def positions(self) -> Mapping[Place, int]:
        """The offset of the next record of each (topic, partition)."""
        return self._positions

    async def start(self) -> dict[Place, int]:
        """Connect and return the end offset of every partition.

        The first time, and after `forget`, reading begins at the ends; later, where it was.
        Raises KafkaUnavailable when Kafka or one of the topics is not there, PositionLost when
        the log ends before where it was.
        """
        await self.close()
        try:
            consumer = AIOKafkaConsumer(
                enable_auto_commit=False,
                auto_offset_reset="none",
                group_id=None,
                fetch_max_wait_ms=500,
                max_partition_fetch_bytes=1_048_576,
                **self._access.options(self._client_id),
            )
            self._consumer = consumer
            await bounded(consumer.start(), START_SECONDS)
            places = await self._places()
            consumer.assign([TopicPartition(*place) for place in places])
            ends = await self.ends(places)
            positions = positions_in(ends, self._positions)
            for place, offset in positions.items():
                consumer.seek(TopicPartition(*place), offset)
        except PositionLost:
            await self.close()
            raise
        except _FAILURES as error:
            await self.close()
            raise KafkaUnavailable(repr(error)) from error
        self._positions = positions
        return ends

    def forget(self) -> None:
        """Begin at the ends at the next start, whatever was read before."""
        self._positions = {}

    async def ends(self, places: Sequence[Place] | None = None) -> dict[Place, int]:
        """Return the end offset of each partition as Kafka has it now.

        Raises KafkaUnavailable; useful as a sign of life, since reading alone waits silently.
        """
        wanted = list(self._positions) if places is None else places
        try:
            asked = [TopicPartition(*place) for place in wanted]
            found = await bounded(self._consumer.end_offsets(asked), ANSWER_SECONDS)
        except _FAILURES as error:
            raise KafkaUnavailable(repr(error)) from error
        return {(key.topic, key.partition): offset for key, offset in found.items()}

    async def read(self, timeout: float = 0.5, limit: int = 2_000) -> list[Record]:
        """Return up to `limit` records, waiting at most `timeout` seconds for the first.

        Order is kept within a partition. Raises PositionLost when the log was cut before our
        position, KafkaUnavailable on other failures.
        """
        try:
            waiting = self._consumer.getmany(timeout_ms=int(timeout * 1000), max_records=limit)
            found = await bounded(waiting, timeout + ANSWER_SECONDS)
        except _LOST as error:
            raise PositionLost(repr(error)) from error
        except _FAILURES as error:
            raise KafkaUnavailable(repr(error)) from error
        records: list[Record] = []
        for key, batch in found.items():
            records.extend(
                Record(
                    key.topic,
                    key.partition,
                    item.offset,
                    item.key or b"",
                    item.value or b"",
                    dict(item.headers),
                )
                for item in batch
            )
            if batch:
                self._positions[key.topic, key.partition] = batch[-1].offset + 1
        return records

    async def follow_partitions(self) -> None:
        """Start reading partitions that were added since; call it every few seconds.

        Raises KafkaUnavailable.
        """
        try:
            added = sorted(set(await self._places()) - set(self._positions))
            if not added:
                return
            self._positions |= dict.fromkeys(added, 0)
            self._consumer.assign([TopicPartition(*place) for place in self._positions])
            for place, offset in self._positions.items():
                self._consumer.seek(TopicPartition(*place), offset)
        except _FAILURES as error:
            raise KafkaUnavailable(repr(error)) from error
        log.info("reading added partitions", partitions=added)

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await _stop(consumer)

    async def _places(self) -> list[Place]:
        # Asked of the cluster: the public partitions_for_topic() only knows what is assigned.
        asking = self._consumer._client.fetch_all_metadata()
        metadata = await bounded(asking, ANSWER_SECONDS)
        found: list[Place] = []
        for topic in self._topics:
            partitions = metadata.partitions_for_topic(topic)
            if not partitions:
                raise KafkaUnavailable(f"topic {topic} has no partitions yet")
            found.extend((topic, partition) for partition in sorted(partitions))
        return found


def positions_in(ends: Mapping[Place, int], known: Mapping[Place, int]) -> dict[Place, int]:
    """Return where to read on: at the known positions, else at the ends (pure).

    Partitions that came meanwhile are read from their beginning. Raises PositionLost when a
    known position is beyond an end: that log is not the one that was read.
    """
    if not known:
        return dict(ends)
    for place, end in ends.items():
        if known.get(place, 0) > end:
            raise PositionLost(f"{place} ends at {end}, before {known[place]}")
    return {place: known.get(place, 0) for place in ends}


async def _stop(client: Any) -> None:
    """Stop a producer or consumer, whatever state it is in, within bounded time."""
    with contextlib.suppress(*_FAILURES, asyncio.InvalidStateError):
        await bounded(client.stop(), STOP_SECONDS)
