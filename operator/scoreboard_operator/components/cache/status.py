"""The cache's condition and its rows: what is served, by whom, and what is awaited."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components.base import Board, ComponentStatus, Object, Snapshot
from scoreboard_operator.components.build import pod_trouble, workload_ready
from scoreboard_operator.components.cache.acquaintance import believed
from scoreboard_operator.components.cache.desired import TEMPLATE_HASH, zone_workload
from scoreboard_operator.components.cache.layout import (
    SLOTS,
    Node,
    Observed,
    slots_text,
    workload_name,
)
from scoreboard_operator.components.cache.topology import Plan, plan


def status(board: Board, snapshot: Snapshot, observed: Observed | None) -> ComponentStatus:
    """The CacheReady condition: all slots served, every primary with a replica in sync
    in another zone."""
    if observed is None:
        return ComponentStatus(False, "WaitingForNodes", "waiting for the first look at the nodes")
    view = believed(observed)
    # A plan takes silence at its word, so it is not carried out while silence is passed over.
    decided = Plan((), ()) if observed.remembered else plan(observed)
    reason, message = _judge(snapshot, view, decided)
    ready = reason in ("Ready", "Rebalancing")
    return ComponentStatus(ready, reason, message, tables={"cacheNodes": _rows(view)})


def hold(
    board: Board, snapshot: Snapshot, observed: Observed | None, workload: Object
) -> str | None:
    """Why a zone's StatefulSet must not be restarted yet, or None.

    Zones go in order, and a zone goes only when no slot range would lose its last copy. A zone
    whose own copies are lost already may always go: its update may be the cure.
    """
    if observed is None or workload["kind"] != "StatefulSet":
        return None
    name = workload["metadata"]["name"]
    zone = next((z for z in board.zones if workload_name(board, z) == name), None)
    if zone is None:
        return None
    if observed.remembered:
        return f"{', '.join(sorted(observed.remembered))} did not answer just now"
    for part in range(len(observed.layout.ranges)):
        places = observed.layout.of_part(part)
        copies = {p.zone for p in places if _has_copy(observed, observed.nodes[p.pod], part)}
        if zone in copies and copies == {zone} and len(places) > 1:
            other = next(p.pod for p in places if p.zone != zone)
            return f"slots {slots_text(observed.layout.slots(part))} have no copy on {other} yet"
    for earlier in board.zones[: board.zones.index(zone)]:
        live = snapshot.get("StatefulSet", workload_name(board, earlier))
        wanted = zone_workload(board, earlier)["metadata"]["annotations"][TEMPLATE_HASH]
        if live is None or (live["metadata"].get("annotations") or {}).get(TEMPLATE_HASH) != wanted:
            return f"{earlier} is updated first"
        if not workload_ready(live):
            return f"{earlier} is still restarting"
    return None


def _judge(snapshot: Snapshot, observed: Observed, decided: Plan) -> tuple[str, str]:
    """Reason and message, the most telling finding first."""
    silent = [n for n in observed.nodes.values() if not n.answered]
    awaited = [f"{n.pod} ({_trouble(snapshot, n)})" for n in silent]
    served = observed.served()
    work = [f"{op.kind} on {op.pod}: {op.why}" for op in decided.operations]
    todo = _some([*decided.waiting, *work])
    if len(served) < SLOTS:
        if silent and not served:
            return "WaitingForNodes", f"waiting for {_some(awaited)}"
        if _is_new(observed):
            return "FormingCluster", f"{len(served)} of {SLOTS} slots served; {todo}"
        where = f"; waiting for {_some(awaited)}" if awaited else ""
        count = SLOTS - len(served)
        return "SlotsUncovered", f"{count} of {SLOTS} slots are not served; {todo}{where}"
    if silent:
        return "WaitingForNodes", f"all slots are served; waiting for {_some(awaited)}"
    for place in observed.layout.places:
        owner, node = observed.owner(place.part), observed.nodes[place.pod]
        if owner is None or owner.pod == node.pod:
            continue
        if node.primary_id != owner.id:
            return "ReplicaMissing", f"{node.pod} is to become a replica of {owner.pod}; {todo}"
        if not node.link_up:
            return "ReplicaSyncing", f"{node.pod} is copying the data of {owner.pod}"
    blind = next((n.pod for n in observed.answering() if not n.working), None)
    if blind is not None:
        return "Settling", f"{blind} takes no commands until it sees most of the primaries"
    if decided.operations or decided.waiting:
        return "Rebalancing", f"all slots are served with replicas; {todo}"
    return "Ready", f"all {SLOTS} slots are served by {_primaries(observed)}"


def _primaries(observed: Observed) -> str:
    count = len(observed.layout.ranges)
    replicas = len(observed.layout.places) - count
    if count == 1:
        return "one node"
    return f"{count} primaries, {replicas} replicas in sync"


def _is_new(observed: Observed) -> bool:
    """Whether this cluster is being formed for the first time, rather than damaged."""
    return all(
        not row.slots or row.id in _ids(observed)
        for n in observed.answering()
        for row in n.peers.values()
    ) and all(n.uptime < 120 for n in observed.answering())


def _ids(observed: Observed) -> set[str]:
    return {node.id for node in observed.answering()}


def _has_copy(observed: Observed, node: Node, part: int) -> bool:
    """Whether a node has the data of a range at this moment."""
    owner = observed.owner(part)
    if owner is None or not node.answered:
        return False
    return node.id == owner.id or (node.primary_id == owner.id and node.link_up)


def _trouble(snapshot: Snapshot, node: Node) -> str:
    """Why a node is silent: the pod's own trouble if it has any, else the connection's."""
    pod = snapshot.get("Pod", node.pod)
    if pod is None:
        return "no pod yet"
    return str(node.trouble) if node.ready else pod_trouble(pod)


def _some(items: list[str]) -> str:
    """The first three of a list of findings."""
    shown = "; ".join(items[:3]) or "checking again"
    return f"{shown}; and {len(items) - 3} more" if len(items) > 3 else shown


def _rows(observed: Observed) -> list[dict[str, Any]]:
    """One row per pod for ``status.cacheNodes``."""
    rows = []
    for place in observed.layout.places:
        node = observed.nodes[place.pod]
        owner = next((n for n in observed.answering() if n.id == node.primary_id), None)
        if not node.answered:
            role, slots, link = "unknown", "", "down"
        elif node.is_primary:
            role, slots, link = "primary", slots_text(node.slots), "connected"
        else:
            role = "replica"
            slots = slots_text(owner.slots) if owner is not None else ""
            link = "connected" if node.link_up else "syncing" if node.syncing else "down"
        rows.append(
            {"pod": place.pod, "zone": place.zone, "role": role, "slots": slots, "linkState": link}
        )
    return rows
