"""Which Secrets a Scoreboard has and what each holds. (Pure.)"""

from __future__ import annotations

from dataclasses import dataclass

from scoreboard_operator.components.base import Board

SERVICES = ("score", "user", "notification")


@dataclass(frozen=True)
class Leaf:
    """A leaf certificate: Secret NAME-``component``-tls with common name ``component``."""

    component: str
    hosts: tuple[str, ...]
    addresses: tuple[str, ...] = ()


def leaves(board: Board) -> list[Leaf]:
    """All leaf certificates with the DNS names their servers are reached by."""
    found = []
    services = [
        f"{board.name}-db-{shard}-{suffix}"
        for shard in range(board.spec.database.shards)
        for suffix in ("primary", "replicas", *board.zones)
    ]
    found.append(Leaf("db", _hosts(board, services)))
    services = [f"{board.name}-kafka", *(f"{board.name}-kafka-{zone}" for zone in board.zones)]
    found.append(Leaf("kafka", _hosts(board, services)))
    headless = f"{board.name}-cache"
    wildcard = f"*.{headless}.{board.namespace}.svc"
    found.append(Leaf("cache", (*_hosts(board, [headless]), wildcard, "localhost")))
    for service in SERVICES:
        names = [f"{board.name}-{service}", *(f"{board.name}-{service}-{z}" for z in board.zones)]
        found.append(Leaf(service, _hosts(board, names)))
    gateway = (*_hosts(board, [f"{board.name}-gateway"]), "localhost")
    found.append(Leaf("gateway", gateway, ("127.0.0.1", "::1")))
    found.append(Leaf("operator", (f"{board.name}-operator",)))
    return found


def passwords(board: Board) -> dict[str, list[str]]:
    """Secrets that hold passwords, with their keys; shared ones are listed by :func:`copies`."""
    services = [f"{service}-password" for service in SERVICES]
    return {
        f"{board.name}-db-credentials": [
            "superuser-password",
            "replication-password",
            "rewind-password",
            "owner-password",
            "analytics-password",
            "operator-password",
            *services,
        ],
        f"{board.name}-kafka-credentials": ["admin-password", *services],
        f"{board.name}-cache-credentials": ["operator-password", "replication-password", *services],
    }


def copies(board: Board) -> dict[str, dict[str, tuple[str, str]]]:
    """Per-service Secrets: key -> (Secret, key) the value is copied from."""
    return {
        f"{board.name}-{service}-credentials": {
            "database-password": (f"{board.name}-db-credentials", f"{service}-password"),
            "kafka-password": (f"{board.name}-kafka-credentials", f"{service}-password"),
            "cache-password": (f"{board.name}-cache-credentials", f"{service}-password"),
        }
        for service in SERVICES
    }


def retained_names(board: Board) -> list[str]:
    """Secrets that outlive the Scoreboard: lost, their values could never be made again.

    Leaves are not among them; the authority issues them anew.
    """
    own = ("jwt-signing", "jwt-public", "request-signing", "ca")
    return [*passwords(board), *copies(board), *(f"{board.name}-{name}" for name in own)]


def _hosts(board: Board, services: list[str]) -> tuple[str, ...]:
    return tuple(
        host
        for service in services
        for host in (f"{service}.{board.namespace}.svc", f"{service}.{board.namespace}", service)
    )
