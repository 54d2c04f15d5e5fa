"""One pass over one Scoreboard. Reads as the table of contents of reconciling."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from scoreboard_operator.reconcile.apply import BoardAccess, Outcome, StepRunner, carry_out
from scoreboard_operator.reconcile.finalize import ensure_finalizer, finalize
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
    runner: StepRunner


@dataclass(frozen=True)
class PassResult:
    """How a pass ended, and the writes it made.

    ``result`` is ready, waiting, stalled, paused, failed (a fault of ours), deleting, gone, or
    absent (not in our cache: not yet, or not any more).
    """

    result: str
    writes: int = 0


async def run_pass(env: Environment, key: Key) -> PassResult:
    """Bring one Scoreboard a step closer to its spec and report where it stands."""
    resource = env.cache.board(key)
    if resource is None:
        return PassResult("absent")
    if resource["metadata"].get("deletionTimestamp"):
        gone = await finalize(env.client, env.cache, resource)
        return PassResult("gone" if gone else "deleting")
    try:
        board = board_of(resource, env.cache.nodes(), env.cache.children(key), env.images)
    except UserError as error:
        status = stalled_status(resource, error.reason, error.message, _now())
        return PassResult("stalled", await _write_status(env, resource, status))

    snapshot = Snapshot(
        env.cache.children(key), await _references(env, board), env.cache.deleted_secrets(key)
    )
    observed = await _observe(env, board, snapshot)
    plan, statuses = _plan(env, board, snapshot, observed)
    if board.spec.paused:
        status = _status(board, snapshot, plan, statuses, Outcome(), resource)
        return PassResult("paused", await _write_status(env, resource, status))

    writes = await ensure_finalizer(env.client, env.cache, resource)
    foreign = await _foreign_secrets(env, board, plan)
    if foreign:
        snapshot = replace(snapshot, other_secrets={**snapshot.other_secrets, **foreign})
        plan, statuses = _plan(env, board, snapshot, observed)
    outcome = await carry_out(plan, env.client, env.cache, env.runner, key)
    if outcome.writes:
        # Judge what is there now, so that Ready never speaks of what was there before.
        snapshot = replace(snapshot, objects=env.cache.children(key))
        statuses = _statuses(env, board, snapshot, observed)
    status = _status(board, snapshot, plan, statuses, outcome, resource)
    writes += outcome.writes + await _write_status(env, resource, status)
    if outcome.crashed:
        return PassResult("failed", writes)
    if is_true(status, "Stalled"):
        return PassResult("stalled", writes)
    ready = is_true(status, "Ready") and not outcome.stepped
    return PassResult("ready" if ready else "waiting", writes)


async def _foreign_secrets(env: Environment, board: Board, plan: Plan) -> dict[str, Object]:
    """Secrets about to be created that exist already, without our labels.

    They were restored from a backup, or someone took the labels off: their values are adopted.
    """
    names = [
        change.object["metadata"]["name"]
        for part in plan.parts
        for change in part.changes
        if change.create
    ]
    found = await asyncio.gather(
        *(env.client.get("Secret", board.namespace, name) for name in names)
    )
    return {name: live for name, live in zip(names, found, strict=True) if live is not None}


async def _references(env: Environment, board: Board) -> dict[str, Object | None]:
    """Secrets the spec names, read directly: they carry no label of ours to watch by."""
    chosen = board.spec.gateway.tls.secret_name
    names = {chosen} if chosen else set()
    found = await asyncio.gather(
        *(env.client.get("Secret", board.namespace, name) for name in sorted(names))
    )
    return dict(zip(sorted(names), found, strict=True))


async def _observe(env: Environment, board: Board, snapshot: Snapshot) -> dict[str, Any]:
    """Ask every engine at once how it is; an exception stands for the answer that failed."""
    access = BoardAccess(env.client, board.namespace)
    answers = await asyncio.gather(
        *(component.observe(board, snapshot, access) for component in env.components),
        return_exceptions=True,
    )
    return {
        component.name: answer for component, answer in zip(env.components, answers, strict=True)
    }


def _plan(
    env: Environment, board: Board, snapshot: Snapshot, observed: dict[str, Any]
) -> tuple[Plan, list[tuple[Component, ComponentStatus]]]:
    statuses = _statuses(env, board, snapshot, observed)
    holding = frozenset(c.condition for c, status in statuses if status.ready)
    return make_plan(board, snapshot, env.components, observed, holding), statuses


def _statuses(
    env: Environment, board: Board, snapshot: Snapshot, observed: dict[str, Any]
) -> list[tuple[Component, ComponentStatus]]:
    return [
        (component, _component_status(component, board, snapshot, observed.get(component.name)))
        for component in env.components
    ]


def _component_status(
    component: Component, board: Board, snapshot: Snapshot, observed: Any
) -> ComponentStatus:
    if isinstance(observed, Exception):
        return _internal_error(observed)
    try:
        return component.status(board, snapshot, observed)
    except UserError as error:
        return ComponentStatus(False, error.reason, error.message, stalled=True)
    except Exception as error:
        log.exception("status failed", scoreboard=board.name, component=component.name)
        return _internal_error(error)


def _internal_error(error: Exception) -> ComponentStatus:
    message = f"{type(error).__name__} in the operator: its log has the traceback"
    return ComponentStatus(False, "InternalError", message)


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
    open_work = len(plan.lines()) if board.spec.paused else 0
    old = resource.get("status", {})
    return build_status(board, snapshot, corrected, held, open_work, old, _now())


def _corrected(status: ComponentStatus, part: ComponentPlan, outcome: Outcome) -> ComponentStatus:
    """A component's own word, unless its plan met something the component cannot see."""
    name = part.component.name
    if part.error is not None:
        reason, message = part.error.reason, part.error.message
    elif part.crash is not None:
        return _internal_error(part.crash)
    elif name in outcome.failures:
        reason, message = "Retrying", outcome.failures[name]
    elif name in outcome.busy and not status.ready:
        reason, message = status.reason, f"{status.message}; under way: {outcome.busy[name]}"
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
    # In a merge patch only null removes a key that is there no more.
    vanished = {
        table: {**dict.fromkeys(old.get(table, {})), **status.get(table, {})}
        for table in ("endpoints", "images")
    }
    patch = {"status": {**status, **vanished}}
    try:
        stored = await env.client.merge_patch(
            KIND, meta["namespace"], meta["name"], patch, status=True
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
