"""What one pass will do, as data: creations, updates, held-back updates, prunes, steps. (Pure.)"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scoreboard_operator.api import API_VERSION, KIND
from scoreboard_operator.components.base import (
    Board,
    Component,
    Object,
    Snapshot,
    Step,
    UserError,
)
from scoreboard_operator.components.build import workload_ready
from scoreboard_operator.components.build.labels import RETAIN_ANNOTATION, ZONE
from scoreboard_operator.kube.kinds import KINDS, WORKLOADS
from scoreboard_operator.reconcile.diff import HASH_ANNOTATION, differences, digest, stamped

TEMPLATE_ANNOTATION = "scoreboard.dev/template-digest"
"""On workloads: digest of the pod template, so that a field taken out of it counts as a change."""


@dataclass(frozen=True)
class Change:
    """One write: ``why`` names the fields that differ, or says that the object is missing.

    ``create`` is for generated secrets: they are only ever created, so that values nobody knew of
    are never overwritten.
    """

    object: Object
    why: str
    create: bool = False

    @property
    def title(self) -> str:
        """Kind and name, for people."""
        return f"{self.object['kind']}/{self.object['metadata']['name']}"


@dataclass(frozen=True)
class ComponentPlan:
    """What one component's part of the pass is.

    ``held`` maps the names of workloads whose update waits to the reason; ``blocked`` says why
    nothing of the component is created yet; ``error`` is what the user must mend, ``crash`` a
    fault of ours.
    """

    component: Component
    changes: tuple[Change, ...] = ()
    held: Mapping[str, str] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    wanted: frozenset[tuple[str, str]] = frozenset()
    blocked: str | None = None
    error: UserError | None = None
    crash: Exception | None = None


@dataclass(frozen=True)
class Plan:
    """The whole pass; ``prune`` lists owned objects nobody wants any more."""

    parts: tuple[ComponentPlan, ...]
    prune: tuple[Object, ...]

    def lines(self) -> list[str]:
        """The plan as text, one line per operation, in the order of execution."""
        text = []
        for part in self.parts:
            name = part.component.name
            text += [f"{name}: apply {change.title} ({change.why})" for change in part.changes]
            text += [f"{name}: hold {workload} ({why})" for workload, why in part.held.items()]
            text += [f"{name}: step {step.name} ({step.detail})" for step in part.steps]
            if part.error or part.crash:
                text.append(f"{name}: nothing ({part.error or part.crash})")
            if part.blocked:
                text.append(f"{name}: blocked ({part.blocked})")
        text += [f"prune {o['kind']}/{o['metadata']['name']}" for o in self.prune]
        return text


def make_plan(
    board: Board,
    snapshot: Snapshot,
    components: Sequence[Component],
    observed: Mapping[str, Any],
    conditions_true: frozenset[str],
) -> Plan:
    """Plan one pass.

    ``observed`` maps component names to what ``observe`` returned; ``conditions_true`` are the
    component conditions that hold now.
    """
    parts = tuple(
        _planned(board, snapshot, component, observed.get(component.name), conditions_true)
        for component in components
    )
    return Plan(parts, _prune(board, snapshot, parts))


def owned(board: Board, desired: Object) -> Object:
    """The object with the board's owner reference (unless it must outlive it) and its hash."""
    annotations = desired["metadata"].get("annotations", {})
    if annotations.get(RETAIN_ANNOTATION) != "true":
        reference = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": board.name,
            "uid": board.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        desired = {
            **desired,
            "metadata": {**desired["metadata"], "ownerReferences": [reference]},
        }
    if desired["kind"] in WORKLOADS:
        metadata = desired["metadata"]
        notes = {TEMPLATE_ANNOTATION: digest(desired["spec"]["template"])}
        annotations = {**metadata.get("annotations", {}), **notes}
        desired = {**desired, "metadata": {**metadata, "annotations": annotations}}
    return stamped(desired)


def change_needed(desired: Object, live: Object | None) -> str | None:
    """Why a stamped object must be written, or None when the live one already says so."""
    if live is None or live["metadata"].get("deletionTimestamp"):
        return "missing"
    found = differences(
        {key: value for key, value in desired.items() if key not in ("kind", "apiVersion")}, live
    )
    if not found:
        return None
    real = [path for path in found if HASH_ANNOTATION not in path]
    return ", ".join(real) if real else "fields no longer wanted"


def _planned(
    board: Board,
    snapshot: Snapshot,
    component: Component,
    observed: Any,
    conditions_true: frozenset[str],
) -> ComponentPlan:
    """Plan one component; whatever is wrong with it stays with it."""
    if isinstance(observed, Exception):
        return ComponentPlan(component, crash=observed)
    try:
        return _plan_component(board, snapshot, component, observed, conditions_true)
    except UserError as error:
        return ComponentPlan(component, error=error)
    except Exception as error:
        return ComponentPlan(component, crash=error)


def _plan_component(
    board: Board,
    snapshot: Snapshot,
    component: Component,
    observed: Any,
    conditions_true: frozenset[str],
) -> ComponentPlan:
    desired = [owned(board, item) for item in component.desired(board, snapshot)]
    desired.sort(key=lambda item: (KINDS[item["kind"]].order, item["metadata"]["name"]))
    wanted = frozenset((item["kind"], item["metadata"]["name"]) for item in desired)

    absent = [name for name in component.after if name not in conditions_true]
    workloads = [item for item in desired if item["kind"] in WORKLOADS]
    exists = any(snapshot.get(w["kind"], w["metadata"]["name"]) for w in workloads)
    if absent and not exists:
        return ComponentPlan(component, wanted=wanted, blocked=f"waiting for {', '.join(absent)}")

    changes: list[Change] = []
    held: dict[str, str] = {}
    for item in desired:
        name = item["metadata"]["name"]
        live = snapshot.get(item["kind"], name)
        why = change_needed(item, live)
        if why is None:
            continue
        if item["kind"] == "Job" and live is not None:
            # A Job's template cannot change; its name carries what it was made for.
            continue
        if item["kind"] in WORKLOADS and live is not None:
            hold = component.hold or _one_zone_at_a_time(desired)
            reason = component.gate(board, snapshot, item) if component.gate else None
            reason = reason or hold(board, snapshot, observed, item)
            if reason is not None:
                held[name] = reason
                continue
        unknown = live is None and name not in snapshot.other_secrets
        changes.append(Change(item, why, create=_generated(item) and unknown))
    steps = tuple(component.steps(board, snapshot, observed, frozenset(held)))
    return ComponentPlan(component, tuple(changes), held, steps, wanted)


def _generated(item: Object) -> bool:
    """Whether the object holds values that were made once and cannot be made again."""
    annotations = item["metadata"].get("annotations", {})
    return item["kind"] == "Secret" and bool(annotations.get(RETAIN_ANNOTATION) == "true")


def _one_zone_at_a_time(desired: Iterable[Object]) -> Any:
    """Default hold: a zone waits until the zones before it are current and ready.

    Only what restarts pods waits. Scaling and undoing edits by hand go ahead, and so does a
    workload that is not ready: there is nothing to lose, and it may be what mends it.
    """
    workloads = [item for item in desired if item["kind"] in WORKLOADS]

    def hold(board: Board, snapshot: Snapshot, observed: Any, workload: Object) -> str | None:
        zone = workload["metadata"]["labels"].get(ZONE)
        if zone not in board.zones:
            return None
        present = snapshot.get(workload["kind"], workload["metadata"]["name"])
        if not _restarts(workload, present) or not workload_ready(present):
            return None
        turn = board.zones.index(zone)
        for other in workloads:
            other_zone = other["metadata"]["labels"].get(ZONE)
            if other_zone not in board.zones or board.zones.index(other_zone) >= turn:
                continue
            live = snapshot.get(other["kind"], other["metadata"]["name"])
            settled = not _restarts(other, live) and workload_ready(live)
            if not settled:
                return f"zone {other_zone} first: {other['metadata']['name']} is not ready yet"
        return None

    return hold


def _restarts(workload: Object, live: Object | None) -> bool:
    """Whether an update changes the pod template, so that pods are replaced."""
    if live is None:
        return False
    template = workload["spec"]["template"]
    wanted = workload["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    known = live["metadata"].get("annotations", {}).get(TEMPLATE_ANNOTATION)
    return wanted != known or bool(differences(template, live["spec"]["template"]))


def _prune(board: Board, snapshot: Snapshot, parts: Sequence[ComponentPlan]) -> tuple[Object, ...]:
    """Owned objects that no component wants; nothing while a component could not say."""
    if any(part.error or part.crash for part in parts):
        return ()
    wanted = frozenset().union(*(part.wanted for part in parts))
    return tuple(
        live
        for key, live in sorted(snapshot.objects.items())
        if key not in wanted
        and not live["metadata"].get("deletionTimestamp")
        and any(
            reference.get("uid") == board.uid and reference.get("controller")
            for reference in live["metadata"].get("ownerReferences", [])
        )
    )
