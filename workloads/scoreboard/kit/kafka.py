"""Kafka over SASL_SSL: how to reach it, and a producer that says what was acknowledged.

It is not needed for a service to start; while Kafka is away `Producer.send_all` says so. The
reader of whole topics is in `kit.kafka_reader`.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import aiokafka.errors
import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.partitioner import DefaultPartitioner

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
TOPIC_SECONDS: Final = 2.0
REST_SECONDS: Final = 5.0
"""How long a partition that did not acknowledge is left alone."""
STOP_SECONDS: Final = 3.0


class KafkaUnavailable(ConnectionError):  # noqa: N818  a state of the world, not a bug
    """Kafka did not acknowledge; what was sent may or may not have arrived."""


@dataclass(frozen=True)
class Message:
    """One record to send; records with the same key keep their order."""

    topic: str
    key: bytes
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


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


FAILURES: Final = (
    aiokafka.errors.KafkaError,
    OSError,
    TimeoutError,
    SettingsError,
    ValueError,
    RuntimeError,
)


Place: TypeAlias = tuple[str, int]
"""Topic and partition."""
_WHOLE: Final = -1
"""In the place of a partition: the topic as a whole, which is not there."""
_PARTITIONER: Final = DefaultPartitioner()


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


def _forget(task: "asyncio.Future[Any]") -> None:
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
        self._rests: dict[Place, float] = {}
        self._stopping: set[asyncio.Task[None]] = set()

    def state(self) -> str:
        """Return up, down, or unknown before the first use."""
        return {True: "up", False: "down", None: "unknown"}[self._up]

    async def start(self) -> None:
        """Do nothing but exist: the connection is made by the first `send_all`."""

    async def close(self) -> None:
        """Send what is pending and disconnect."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await stop(producer)
        await asyncio.gather(*self._stopping)

    async def send_all(
        self, messages: Sequence[Message], seconds: float = SEND_SECONDS
    ) -> list[bool]:
        """Send messages and return, for each, whether all in-sync replicas acknowledged it.

        Records of one partition keep their order: after one that failed, none counts. A partition
        that fails is left alone for a moment, so that it holds up the others once and not always.
        Raises KafkaUnavailable when there is no connection. What is not acknowledged may have
        arrived all the same; the caller sends it again.
        """
        try:
            producer = await self._connected()
        except FAILURES as error:
            self._up = False
            raise KafkaUnavailable(repr(error)) from error
        acknowledged = [False] * len(messages)
        lanes = await self._lanes(producer, messages, seconds)
        sending = {
            asyncio.ensure_future(_send(producer, messages, place[1], numbers, acknowledged)): place
            for place, numbers in lanes.items()
        }
        if sending:
            await self._finish(producer, sending, seconds)
        self._up = any(acknowledged) or not messages
        return list(acknowledged)  # as of now, whatever a task that was left behind still marks

    async def _lanes(
        self, producer: Any, messages: Sequence[Message], seconds: float
    ) -> dict[Place, list[int]]:
        """Return the numbers of the messages of each partition that is not left alone."""
        now = asyncio.get_running_loop().time()
        partitions: dict[str, list[int]] = {}
        for topic in {message.topic for message in messages}:
            if self._rests.get((topic, _WHOLE), 0) > now:
                continue
            try:
                known = await bounded(producer.partitions_for(topic), min(seconds, TOPIC_SECONDS))
                partitions[topic] = sorted(known)
            except FAILURES as error:
                self._rest((topic, _WHOLE), error)
        lanes: dict[Place, list[int]] = defaultdict(list)
        for number, message in enumerate(messages):
            numbers = partitions.get(message.topic)
            if numbers:
                place = (message.topic, _PARTITIONER(message.key, numbers, numbers))
                if self._rests.get(place, 0) <= now:
                    lanes[place].append(number)
        return lanes

    async def _finish(
        self, producer: Any, sending: "Mapping[asyncio.Task[None], Place]", seconds: float
    ) -> None:
        """Wait for the partitions' tasks and leave those alone that failed."""
        try:
            await asyncio.wait(sending, timeout=seconds)
        finally:
            for task in sending:
                task.cancel()
        failed = False
        for task, place in sending.items():
            error = task.exception() if task.done() and not task.cancelled() else None
            if error is not None or not task.done():
                failed = True
                if self._producer is producer:  # else another caller had it stopped under us
                    self._rest(place, error or TimeoutError(f"no answer within {seconds:.1f} s"))
        if failed and self._producer is producer:
            # An idempotent producer that lost a partition's sequence never recovers; a new one
            # does. Stopping sends what other callers wait for, so nobody waits for it here.
            self._producer = None
            stopping = asyncio.ensure_future(stop(producer))
            self._stopping.add(stopping)
            stopping.add_done_callback(self._stopping.discard)

    def _rest(self, place: Place, error: BaseException) -> None:
        topic, partition = place
        log.warning("not acknowledged", topic=topic, partition=partition, error=repr(error))
        self._rests[place] = asyncio.get_running_loop().time() + REST_SECONDS

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
                    await stop(producer)
                    raise
                self._producer = producer
            return self._producer


async def _send(
    producer: Any,
    messages: Sequence[Message],
    partition: int,
    numbers: Sequence[int],
    acknowledged: list[bool],
) -> None:
    """Send the numbered messages to one partition; mark those before the first that fails."""
    pending: list[asyncio.Future[Any]] = []
    failure: Exception | None = None
    try:
        for number in numbers:
            message = messages[number]
            answer = await producer.send(
                message.topic,
                key=message.key,
                value=message.value,
                partition=partition,
                headers=list(message.headers),
            )
            answer.add_done_callback(_forget)
            pending.append(answer)
    except Exception as error:
        failure = error
    for number, answer in zip(numbers, pending, strict=False):
        # Shielded: cancelling us must not mark what was sent as given up.
        await asyncio.shield(answer)
        acknowledged[number] = True
    if failure is not None:
        raise failure


async def stop(client: Any) -> None:
    """Stop a producer or consumer, whatever state it is in, within bounded time."""
    with contextlib.suppress(*FAILURES, asyncio.InvalidStateError):
        await bounded(client.stop(), STOP_SECONDS)
