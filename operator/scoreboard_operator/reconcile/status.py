"""From component statuses to ``.status``: conditions, tables, printer columns. (Pure.)

kstatus rules: ``observedGeneration`` is the generation this pass worked on; ``Ready`` is there
from the first pass on; ``Reconciling`` and ``Stalled`` exist only while true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scoreboard_operator.components.base import Board, Component, ComponentStatus, Object, Snapshot
from scoreboard_operator.components.build import pod_ready
from scoreboard_operator.components.build.labels import ZONE
from scoreboard_operator.kube.kinds import WORKLOADS

_ZONE_COLUMNS = ("score", "user", "notification", "gateway", "database", "kafka", "cache")
_TABLES = ("shards", "topics", "cacheNodes")


@dataclass(frozen=True)
class Transition:
    """A condition that changed its status or, while not true, its reason."""

    type: str
    status: str
    reason: str
    message: str


def build_status(
    board: Board,
    snapshot: Snapshot,
    results: Sequence[tuple[Component, ComponentStatus]],
    held: Mapping[str, str],
    open_work: int,
    old: Object,
    now: str,
) -> Object:
    """The new status.

    ``held`` are updates that wait for their turn; ``open_work`` counts what a paused board leaves
    undone; ``now`` is RFC 3339.
    """
    tables: Object = {name: [] for name in _TABLES}
    endpoints: dict[str, str] = {}
    for _, result in results:
        for table, rows in result.tables.items():
            if table == "endpoints":
                endpoints |= rows
            else:
                tables[table] = [_without_nulls(row) for row in rows]
    zones = _zone_rows(board, snapshot)
    conditions = [
        (component.condition, result.ready, result.reason, result.message)
        for component, result in results
    ]
    conditions = _overall(board, results, held, open_work) + conditions
    return {
        "observedGeneration": board.generation,
        "conditions": _with_times(conditions, board.generation, old, now),
        "zones": zones,
        **tables,
        "endpoints": endpoints,
        "images": dict(vars(board.images)),
        "summary": _summary(board, zones, tables["shards"]),
    }


def stalled_status(resource: Object, reason: str, message: str, now: str) -> Object:
    """Status of a resource that cannot be worked on: tables stay as they last were."""
    old = resource.get("status", {})
    generation = resource["metadata"]["generation"]
    kept = [
        c for c in old.get("conditions", []) if c["type"] not in ("Ready", "Reconciling", "Stalled")
    ]
    conditions = [("Ready", False, reason, message), ("Stalled", True, reason, message)]
    return {
        **old,
        "observedGeneration": generation,
        # Component conditions still speak of the generation they were found for.
        "conditions": _with_times(conditions, generation, old, now) + kept,
    }


def transitions(old: Object, new: Object) -> list[Transition]:
    """Conditions whose change deserves an Event."""
    before = {c["type"]: c for c in old.get("conditions", [])}
    found = []
    for condition in new["conditions"]:
        was = before.get(condition["type"])
        same = was is not None and was["status"] == condition["status"]
        if condition["type"] == "Reconciling" or same:
            continue
        if was is None and condition["status"] != "True":
            continue
        found.append(
            Transition(
                condition["type"], condition["status"], condition["reason"], condition["message"]
            )
        )
    return found


def is_true(status: Object, condition_type: str) -> bool:
    """Whether a condition is present and True."""
    return any(
        c["type"] == condition_type and c["status"] == "True" for c in status.get("conditions", [])
    )


def _overall(
    board: Board,
    results: Sequence[tuple[Component, ComponentStatus]],
    held: Mapping[str, str],
    open_work: int,
) -> list[tuple[str, bool, str, str]]:
    stalled = next((result for _, result in results if result.stalled), None)
    if stalled is not None:
        return [
            ("Ready", False, stalled.reason, stalled.message),
            ("Stalled", True, stalled.reason, stalled.message),
        ]
    waiting = [(c, result) for c, result in results if not result.ready]
    if board.spec.paused:
        message = "spec.paused is true: nothing is changed until it is set to false"
        if open_work:
            message += f"; {open_work} changes wait for that"
        return [("Ready", not waiting and not open_work, "Paused", message)]
    if waiting:
        component, result = waiting[0]
        more = f" (and {len(waiting) - 1} more components)" if len(waiting) > 1 else ""
        message = f"{component.name}: {result.message}{more}"
        return [
            ("Ready", False, "Progressing", message),
            ("Reconciling", True, result.reason, message),
        ]
    if held:
        name, why = next(iter(sorted(held.items())))
        message = f"rolling out zone by zone: {name} waits, {why}"
        return [
            ("Ready", False, "RollingOut", message),
            ("Reconciling", True, "RollingOut", message),
        ]
    return [("Ready", True, "Ready", "all components are ready in every zone")]


def _with_times(
    conditions: Sequence[tuple[str, bool, str, str]], generation: int, old: Object, now: str
) -> list[Object]:
    """Conditions with lastTransitionTime kept where the status word did not change."""
    before = {c["type"]: c for c in old.get("conditions", [])}
    built = []
    for kind, holds, reason, message in conditions:
        word = "True" if holds else "False"
        was = before.get(kind)
        since = was["lastTransitionTime"] if was and was["status"] == word else now
        built.append(
            {
                "type": kind,
                "status": word,
                "reason": reason,
                "message": message[:1024],
                "observedGeneration": generation,
                "lastTransitionTime": since,
            }
        )
    return built


def _without_nulls(row: Object) -> Object:
    """The row without unknown cells: the API takes an absent field, not a null."""
    return {key: value for key, value in row.items() if value is not None}


def _zone_rows(board: Board, snapshot: Snapshot) -> list[Object]:
    wanted: dict[tuple[str, str], int] = {}
    for (kind, _), live in snapshot.objects.items():
        if kind not in WORKLOADS:
            continue
        label_set = live["metadata"].get("labels", {})
        cell = (label_set.get(ZONE, ""), label_set.get("app.kubernetes.io/component", ""))
        wanted[cell] = wanted.get(cell, 0) + int(live["spec"].get("replicas", 1))
    rows = []
    for zone in board.zones:
        row: Object = {"name": zone}
        for column in _ZONE_COLUMNS:
            count = wanted.get((zone, column))
            if count is not None:
                ready = sum(1 for pod in snapshot.pods(column, zone=zone) if pod_ready(pod))
                row[column] = f"{min(ready, count)}/{count}"
        rows.append(row)
    return rows


def _summary(board: Board, zones: Sequence[Object], shards: Sequence[Any]) -> dict[str, str]:
    score = [row["score"].split("/") for row in zones if "score" in row]
    whole = [
        row
        for row in zones
        if len(row) > 1
        and all(cell.split("/")[0] == cell.split("/")[1] for k, cell in row.items() if k != "name")
    ]
    led = [row for row in shards if row.get("primary")]
    return {
        "score": f"{sum(int(c[0]) for c in score)}/{sum(int(c[1]) for c in score)}",
        "shards": f"{len(led)}/{board.spec.database.shards}",
        "zones": f"{len(whole)}/{len(board.zones)}",
    }
