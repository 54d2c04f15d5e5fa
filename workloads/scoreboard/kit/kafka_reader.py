"""A reader of whole Kafka topics, for state that every pod keeps.

While Kafka is away its owner simply starts it again, and it reads on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import aiokafka.errors
import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition

from scoreboard.kit.kafka import (
    ANSWER_SECONDS,
    FAILURES,
    START_SECONDS,
    KafkaAccess,
    KafkaUnavailable,
    Place,
    bounded,
    stop,
)

log = structlog.get_logger("scoreboard.kafka")

_LOST: Final = (
    aiokafka.errors.OffsetOutOfRangeError,
    aiokafka.errors.NoOffsetForPartitionError,
)


class PositionLost(RuntimeError):  # noqa: N818
    """The log no longer holds the wanted offset: state built from it must be built anew."""


@dataclass(frozen=True)
class Record:
    """One record that was read."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: Mapping[str, bytes]


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
        except FAILURES as error:
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
        except FAILURES as error:
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
        except FAILURES as error:
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
        except FAILURES as error:
            raise KafkaUnavailable(repr(error)) from error
        log.info("reading added partitions", partitions=added)

    async def close(self) -> None:
        """Disconnect."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await stop(consumer)

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
