"""One pass over one Scoreboard. Reads as the table of contents of reconciling."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog

from scoreboard_operator.api import KIND
from scoreboard_operator.components.base import (
    Board,
    Component,
    ComponentStatus,
    ImageSet,
    Object,
    Snapshot,
    UserError,
)
from scoreboard_operator.kube.cache import Key, ObjectCache
from scoreboard_operator.kube.client import ApiError, KubeClient
from scoreboard_operator.kube.events import emit
from scoreboard_operator.reconcile.apply import BoardAccess, Outcome, carry_out
from scoreboard_operator.reconcile.plan import ComponentPlan, Plan, make_plan
from scoreboard_operator.reconcile.status import (
    build_status,
    is_true,
    stalled_status,
    transitions,
)
from scoreboard_operator.reconcile.validate import board_of

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Environment:
    """What every pass needs, made once at start."""

    client: KubeClient
    cache: ObjectCache
    components: Sequence[Component]
    images: ImageSet


@dataclass(frozen=True)
class PassResult:
    """How a pass ended: ready, waiting, stalled, paused or gone; and the writes it made."""

    result: str
    writes: int = 0


async def run_pass(env: Environment, key: Key) -> PassResult:
    """Bring one Scoreboard a step closer to its spec and report where it stands."""
    resource = env.cache.board(key)
    if resource is None:
        # Kopf saw it before our own watch did; the cache rings when it arrives.
        return PassResult("waiting")
    if resource["metadata"].get("deletionTimestamp"):
        return PassResult("gone")
    children = env.cache.children(key)
    try:
        board = board_of(resource, env.cache.nodes(), children, env.images)
    except UserError as error:
        status = stalled_status(resource, error.reason, error.message, _now())
        return PassResult("stalled", await _write_status(env, resource, status))

    references = await _references(env, board)
    snapshot = _snapshot(env, key, references)
    observed = await _observe(env, board, snapshot)
    plan, statuses = _plan_in_order(env, board, snapshot, observed)
    if board.spec.paused:
        status = _status(board, snapshot, plan, statuses, Outcome(), resource)
        return PassResult("paused", await _write_status(env, resource, status))

    outcome = await carry_out(plan, env.client, env.cache, board.namespace)
    if outcome.writes:
        # Judge what is there now, so that Ready never speaks of what was there before.
        snapshot = _snapshot(env, key, references)
        statuses = [(c, _component_status(c, board, snapshot, observed)) for c in env.components]
    status = _status(board, snapshot, plan, statuses, outcome, resource)
    writes = outcome.writes + await _write_status(env, resource, status)
    if is_true(status, "Stalled"):
        return PassResult("stalled", writes)
    ready = is_true(status, "Ready") and not outcome.stepped
    return PassResult("ready" if ready else "waiting", writes)


def _snapshot(env: Environment, key: Key, references: dict[str, Object | None]) -> Snapshot:
    objects = env.cache.children(key)
    deleted = env.cache.deleted_secrets(key)
    return Snapshot(objects, references, deleted)


async def _references(env: Environment, board: Board) -> dict[str, Object | None]:
    """Secrets the spec names, read directly: they carry no label of ours to watch by."""
    chosen = board.spec.gateway.tls.secret_name
    names = {chosen} if chosen else set()
    found = await asyncio.gather(
        *(env.client.get("Secret", board.namespace, name) for name in sorted(names))
    )
    return dict(zip(sorted(names), found, strict=True))


async def _observe(env: Environment, board: Board, snapshot: Snapshot) -> dict[str, Any]:
    """Ask every engine at once how it is."""
    access = BoardAccess(env.client, board.namespace)
    answers = await asyncio.gather(
        *(component.observe(board, snapshot, access) for component in env.components)
    )
    return {
        component.name: answer for component, answer in zip(env.components, answers, strict=True)
    }


def _plan_in_order(
    env: Environment, board: Board, snapshot: Snapshot, observed: dict[str, Any]
) -> tuple[Plan, list[tuple[Component, ComponentStatus]]]:
    statuses = [(c, _component_status(c, board, snapshot, observed)) for c in env.components]
    holding = frozenset(c.condition for c, status in statuses if status.ready)
    return make_plan(board, snapshot, env.components, observed, holding), statuses


def _component_status(
    component: Component, board: Board, snapshot: Snapshot, observed: dict[str, Any]
) -> ComponentStatus:
    try:
        return component.status(board, snapshot, observed.get(component.name))
    except UserError as error:
        return ComponentStatus(False, error.reason, error.message, stalled=True)


def _status(
    board: Board,
    snapshot: Snapshot,
    plan: Plan,
    statuses: list[tuple[Component, ComponentStatus]],
    outcome: Outcome,
    resource: Object,
) -> Object:
    """Component statuses, corrected by what the plan could not do."""
    parts = {part.component.name: part for part in plan.parts}
    held: dict[str, str] = {}
    for part in plan.parts:
        held |= part.held
    corrected = [
        (component, _corrected(status, parts[component.name], outcome))
        for component, status in statuses
    ]
    return build_status(board, snapshot, corrected, held, resource.get("status", {}), _now())


def _corrected(status: ComponentStatus, part: ComponentPlan, outcome: Outcome) -> ComponentStatus:
    """A component's own word, unless its plan met something the component cannot see."""
    failure = outcome.failures.get(part.component.name)
    if part.error is not None:
        reason, message = part.error.reason, part.error.message
    elif failure is not None:
        reason, message = "Retrying", failure
    elif part.blocked and not status.stalled:
        reason, message = "WaitingForDependencies", part.blocked
    else:
        return status
    return ComponentStatus(
        False, reason, message, stalled=part.error is not None, tables=status.tables
    )


async def _write_status(env: Environment, resource: Object, status: Object) -> int:
    """Write status and the Events of its transitions, when anything changed; count the writes."""
    old = resource.get("status", {})
    if all(old.get(field) == value for field, value in status.items()):
        return 0
    meta = resource["metadata"]
    try:
        stored = await env.client.merge_patch(
            KIND, meta["namespace"], meta["name"], {"status": status}, status=True
        )
    except ApiError as error:
        if error.status == 404:
            return 0
        raise
    env.cache.absorb(stored)
    changed = transitions(old, status)
    for change in changed:
        good = (change.status == "True") != (change.type == "Stalled")
        await emit(
            env.client,
            resource,
            change.type if good else f"{change.type}{'' if change.type == 'Stalled' else 'Lost'}",
            f"{change.reason}: {change.message}",
            warning=not good,
        )
    return 1 + len(changed)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
