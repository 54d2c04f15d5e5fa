"""Which broker may restart now: one at a time, while all others hold every record. (Pure.)"""

from __future__ import annotations

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build.labels import ZONE
from scoreboard_operator.components.kafka.desired import (
    COMPONENT,
    desired,
    restart_hash,
    workload,
)
from scoreboard_operator.components.kafka.state import Observed, sync_trouble


def restarts_due(board: Board, snapshot: Snapshot) -> frozenset[str]:
    """Zones whose running broker is not as wanted and must restart to become so."""
    due = set()
    for item in desired(board, snapshot):
        if item["kind"] != "StatefulSet":
            continue
        live = snapshot.get("StatefulSet", item["metadata"]["name"])
        if live is not None and restart_hash(live) != restart_hash(item):
            due.add(item["metadata"]["labels"][ZONE])
    return frozenset(due)


def order(board: Board, observed: Observed) -> tuple[str, ...]:
    """Zones in the order in which brokers restart: the active controller's last.

    It would otherwise be elected, and restarted, more often than once.
    """
    zones = board.zones
    if observed.controller is None or not 0 <= observed.controller < len(zones):
        return zones
    last = zones[observed.controller]
    return (*(zone for zone in zones if zone != last), last)


def hold(board: Board, snapshot: Snapshot, observed: Observed, workload: Object) -> str | None:
    """Why an update of a broker's StatefulSet must wait, or None.

    An update that restarts nothing, and one that undoes an edit by hand, never waits. Neither does
    one of a broker that is down: there is nothing to lose, and it may be what mends it.
    """
    name, zone = workload["metadata"]["name"], workload["metadata"]["labels"][ZONE]
    live = snapshot.get("StatefulSet", name)
    if live is None or restart_hash(live) == restart_hash(workload):
        return None
    if not _ready(snapshot, zone):
        return None
    silent = observed.problem or observed.remembered
    if silent:
        return f"the brokers cannot be asked whether {name} may restart: {silent}"
    if board.zones.index(zone) not in observed.brokers:
        return None
    for other in board.zones:
        if other != zone and (reason := _not_settled(board, snapshot, observed, other)):
            return reason
    trouble = sync_trouble(observed)
    if trouble is not None:
        return f"{name} holds copies that others lack: {trouble} not in sync"
    due = restarts_due(board, snapshot)
    first = next((each for each in order(board, observed) if each in due), zone)
    if first != zone:
        return f"zone {first} first"
    return None


def _not_settled(board: Board, snapshot: Snapshot, observed: Observed, zone: str) -> str | None:
    name = workload(board, zone)
    if not build.workload_ready(snapshot.get("StatefulSet", name)) or not _ready(snapshot, zone):
        return f"broker {name} is not ready yet"
    if board.zones.index(zone) not in observed.brokers:
        return f"broker {name} has not joined yet"
    return None


def _ready(snapshot: Snapshot, zone: str) -> bool:
    return any(build.pod_ready(pod) for pod in snapshot.pods(COMPONENT, zone=zone))
