"""Names, labels and hosts of the database's objects; the one place that spells them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from scoreboard_operator.api import BOARD_LABEL, MANAGED_BY
from scoreboard_operator.components.base import Board
from scoreboard_operator.components.build import labels, selector

COMPONENT = "database"
SOFTWARE = "postgresql"
VERSION = "17"

POSTGRES_PORT = 5432
PATRONI_PORT = 8008

DATABASE = "scoreboard"
"""Name of the database on every shard."""

SCOPE_LABEL = "scoreboard.dev/cluster"
"""Patroni's cluster name, on pods and on the ConfigMaps Patroni makes."""

ROLE_LABEL = "scoreboard.dev/role"
"""``primary`` or ``replica``; Patroni sets it on its own pod only."""

MEMBER_ANNOTATION = "status"
"""Where Patroni writes a member's state, as JSON, on its pod."""


@dataclass(frozen=True)
class Member:
    """One PostgreSQL server: a shard's member in one zone.

    ``workload`` names its StatefulSet and its Service; ``name`` is its pod and Patroni's member
    name; ``preference`` is higher for zones that should lead (the first zone has the highest).
    """

    shard: int
    zone: str
    workload: str
    host: str
    preference: int

    @property
    def name(self) -> str:
        """Pod name, which is Patroni's member name too."""
        return f"{self.workload}-0"


def shards(board: Board) -> range:
    """Indexes of the board's shards."""
    return range(board.spec.database.shards)


def members(board: Board, shard: int) -> list[Member]:
    """The members of a shard in zone order."""
    found = []
    for index, zone in enumerate(board.zones):
        workload = f"{scope(board, shard)}-{zone}"
        found.append(Member(shard, zone, workload, board.host(workload), len(board.zones) - index))
    return found


def all_members(board: Board) -> Iterator[Member]:
    """Every member, shard by shard, in zone order."""
    for shard in shards(board):
        yield from members(board, shard)


def scope(board: Board, shard: int) -> str:
    """Patroni's name for the cluster of a shard."""
    return f"{board.name}-db-{shard}"


def primary_service(board: Board, shard: int) -> str:
    """Service that leads to the shard's primary."""
    return f"{scope(board, shard)}-primary"


def replicas_service(board: Board, shard: int) -> str:
    """Service that spreads over the shard's replicas."""
    return f"{scope(board, shard)}-replicas"


def leader_map(board: Board, shard: int) -> str:
    """ConfigMap in which Patroni keeps the leader record."""
    return f"{scope(board, shard)}-leader"


def config_map(board: Board, shard: int) -> str:
    """ConfigMap in which Patroni keeps the dynamic configuration, the system id and history."""
    return f"{scope(board, shard)}-config"


def patroni_maps(board: Board, shard: int) -> list[str]:
    """Every ConfigMap Patroni makes for a shard. None has an owner reference."""
    return [f"{scope(board, shard)}-{key}" for key in ("config", "leader", "sync", "failover")]


def settings_map(board: Board) -> str:
    """Our ConfigMap with what all members share of Patroni's local configuration."""
    return f"{board.name}-db-settings"


def account(board: Board) -> str:
    """ServiceAccount, Role and RoleBinding of the members."""
    return f"{board.name}-db"


def volume_claims(board: Board) -> list[str]:
    """The data volumes; they outlive their StatefulSets."""
    return [f"data-{member.name}" for member in all_members(board)]


def object_labels(
    board: Board, *, shard: int | None = None, zone: str | None = None
) -> dict[str, str]:
    """Labels of our objects around PostgreSQL."""
    return labels(board, COMPONENT, SOFTWARE, version=VERSION, shard=shard, zone=zone)


def pod_labels(board: Board, member: Member) -> dict[str, str]:
    """Labels of a member's pod: what our selectors use and what Patroni finds its pods by."""
    own = object_labels(board, shard=member.shard, zone=member.zone)
    return own | {SCOPE_LABEL: scope(board, member.shard)}


def patroni_labels(board: Board) -> dict[str, str]:
    """Labels Patroni selects by, beside the scope, and puts on the ConfigMaps it makes.

    They make the operator's label-selected watch see those ConfigMaps. None may ever change, or
    members would no longer find each other; the version is therefore not among them.
    """
    return selector(board, COMPONENT) | {
        "app.kubernetes.io/name": SOFTWARE,
        "app.kubernetes.io/part-of": "scoreboard",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        BOARD_LABEL: board.name,
    }
