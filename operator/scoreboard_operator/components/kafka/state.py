"""What is known of the brokers, and what of it is not yet as wanted. (Pure.)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from scoreboard_operator.components.base import Board, Snapshot
from scoreboard_operator.components.kafka import access, topics
from scoreboard_operator.components.kafka.access import ADMIN, Acl, Credential
from scoreboard_operator.components.kafka.topics import Change, TopicState


@dataclass(frozen=True)
class Observed:
    """The cluster as its brokers tell it.

    ``problem`` says why nothing could be learned; everything else is then empty, but for ``topics``
    as they were known a moment ago. ``remembered`` says why this is what the brokers said last and
    not what they say now: good enough to judge by, not to act on. ``brokers`` maps
    the ids of the brokers that take part to their racks. ``controller`` is the id of the active
    controller, looked up only while a restart is due. ``topics`` holds every topic, Kafka's own
    included. ``users`` maps SCRAM users to their iterations. ``by_certificate`` is True when the
    admin's password was refused and the answers came over the brokers' own listener.
    """

    problem: str | None = None
    brokers: Mapping[int, str] = field(default_factory=dict)
    controller: int | None = None
    topics: Mapping[str, TopicState] = field(default_factory=dict)
    acls: frozenset[Acl] = frozenset()
    users: Mapping[str, int] = field(default_factory=dict)
    by_certificate: bool = False
    remembered: str | None = None

    @property
    def out_of_sync(self) -> dict[str, tuple[int, ...]]:
        """Topics with under-replicated partitions, and those partitions."""
        return {
            name: state.under_replicated
            for name, state in sorted(self.topics.items())
            if state.under_replicated
        }


@dataclass(frozen=True)
class Pending:
    """What must be written to Kafka for it to be as wanted."""

    topics: tuple[Change, ...] = ()
    users: tuple[Credential, ...] = ()
    acls_to_add: frozenset[Acl] = frozenset()
    acls_to_remove: frozenset[Acl] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.topics or self.users or self.acls_to_add or self.acls_to_remove)


def pending(board: Board, snapshot: Snapshot, observed: Observed) -> Pending:
    """The difference between what is wanted and what was observed; nothing while unknown."""
    if observed.problem is not None:
        return Pending()
    wanted = access.wanted_users(board, snapshot)
    users = access.user_changes(wanted, observed.users)
    if observed.by_certificate and ADMIN in wanted and wanted[ADMIN] not in users:
        users = (*users, wanted[ADMIN])
    add, remove = access.acl_changes(observed.acls)
    return Pending(
        topics=topics.changes(topics.wanted_topics(board), observed.topics),
        users=users,
        acls_to_add=add,
        acls_to_remove=remove,
    )


def missing_brokers(board: Board, observed: Observed) -> list[str]:
    """Zones whose broker does not take part."""
    return [zone for index, zone in enumerate(board.zones) if index not in observed.brokers]


def sync_trouble(observed: Observed) -> str | None:
    """Which partitions have a copy that is missing or behind, or None when all are in sync."""
    behind = observed.out_of_sync
    if not behind:
        return None
    name, partitions = next(iter(behind.items()))
    numbers = ", ".join(str(number) for number in partitions[:6])
    more = ", …" if len(partitions) > 6 else ""
    plural = "s" if len(partitions) > 1 else ""
    others = f" and {len(behind) - 1} more topics" if len(behind) > 1 else ""
    return f"{name} partition{plural} {numbers}{more}{others}"
