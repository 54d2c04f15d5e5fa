"""What the topics should be, what they are, and what turns one into the other. (Pure.)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scoreboard_operator.api.data import TOPICS
from scoreboard_operator.components.base import Board

HOUR_MS = 3_600_000
RETENTION = "retention.ms"
MIN_INSYNC = "min.insync.replicas"


@dataclass(frozen=True)
class TopicSettings:
    """A topic as it is wanted; ``config`` holds exactly the overrides it should have."""

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicState:
    """A topic as it is.

    ``replication_factor`` is the smallest over its partitions. ``config`` holds the overrides set
    on the topic itself, not what it inherits; None means that they could not be read.
    ``under_replicated`` lists the partitions with a copy that is missing or behind.
    """

    name: str
    partitions: int
    replication_factor: int
    config: Mapping[str, str] | None = None
    under_replicated: tuple[int, ...] = ()


@dataclass(frozen=True)
class Create:
    """Make a topic that does not exist."""

    topic: TopicSettings


@dataclass(frozen=True)
class Grow:
    """Add partitions until there are ``partitions``."""

    name: str
    partitions: int


@dataclass(frozen=True)
class Configure:
    """Set the overrides of ``put`` and return those of ``reset`` to their defaults."""

    name: str
    put: Mapping[str, str]
    reset: frozenset[str]


Change = Create | Grow | Configure


def replication(board: Board) -> tuple[int, int]:
    """Copies of each partition, and how many must hold a record before it is acknowledged."""
    brokers = len(board.zones)
    return brokers, max(1, brokers - 1)


def wanted_topics(board: Board) -> tuple[TopicSettings, ...]:
    """The three topics of the event bus, from the spec."""
    copies, in_sync = replication(board)
    found = []
    for name in TOPICS:
        section = getattr(board.spec.kafka.topics, name)
        config = {
            RETENTION: str(section.retention_hours * HOUR_MS),
            # On the topic, since the brokers' own default counts only for a new cluster.
            MIN_INSYNC: str(in_sync),
        }
        found.append(TopicSettings(name, section.partitions, copies, config))
    return tuple(found)


def changes(
    wanted: Iterable[TopicSettings], actual: Mapping[str, TopicState]
) -> tuple[Change, ...]:
    """The fewest changes that make ``actual`` as wanted.

    Partitions never shrink: more of them than wanted is left alone, since records would be lost.
    A wrong number of copies is left alone too (see :func:`obstacles`). Topics nobody asked for
    belong to someone else.
    """
    found: list[Change] = []
    for topic in wanted:
        state = actual.get(topic.name)
        if state is None:
            found.append(Create(topic))
            continue
        if state.partitions < topic.partitions:
            found.append(Grow(topic.name, topic.partitions))
        if state.config is None:
            continue
        put = {key: value for key, value in topic.config.items() if state.config.get(key) != value}
        reset = frozenset(state.config) - frozenset(topic.config)
        if put or reset:
            found.append(Configure(topic.name, put, reset))
    return tuple(found)


def obstacles(wanted: Iterable[TopicSettings], actual: Mapping[str, TopicState]) -> list[str]:
    """What differs and no change of ours can mend, as sentences for people."""
    return [
        f"topic {topic.name} has {state.replication_factor} copies of a partition instead of"
        f" {topic.replication_factor}: reassign its partitions, or delete it to have it made anew"
        for topic in wanted
        if (state := actual.get(topic.name)) is not None
        and state.replication_factor < topic.replication_factor
    ]


def describe(change: Change) -> str:
    """One phrase about a change, for logs and conditions."""
    match change:
        case Create(topic):
            return f"create topic {topic.name}"
        case Grow(name, partitions):
            return f"grow topic {name} to {partitions} partitions"
        case Configure(name, put, reset):
            parts = [f"{key}={put[key]}" for key in sorted(put)]
            parts += [f"no {key}" for key in sorted(reset)]
            return f"set {', '.join(parts)} on topic {name}"
