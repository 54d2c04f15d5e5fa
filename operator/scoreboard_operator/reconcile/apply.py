"""Carrying a plan out: objects in order, then steps, then prunes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import aiohttp
import structlog

from scoreboard_operator.components.base import Object, Step
from scoreboard_operator.kube.cache import Key, ObjectCache
from scoreboard_operator.kube.client import ApiError, KubeClient
from scoreboard_operator.reconcile.plan import Change, ComponentPlan, Plan

log = structlog.get_logger(__name__)

STEP_PATIENCE_SECONDS = 2.0
"""A pass waits so long for steps; longer ones (a switchover) go on beside the next passes."""

INTERRUPTIONS = (aiohttp.ClientError, TimeoutError, OSError)
"""The network or an engine was away: worth a line, not a traceback."""


@dataclass
class Outcome:
    """What a plan's execution came to: writes made, and per component what failed and why.

    ``busy`` maps components whose steps still run to what they do.
    """

    writes: int = 0
    stepped: set[str] = field(default_factory=set)
    busy: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    crashed: bool = False


class BoardAccess:
    """The :class:`components.base.Access` of one board."""

    def __init__(self, client: KubeClient, namespace: str) -> None:
        self._client = client
        self._namespace = namespace

    async def patch(self, kind: str, name: str, patch: Object) -> None:
        """Merge-patch one object of the board's namespace; one that is gone needs no patch."""
        try:
            await self._client.merge_patch(kind, self._namespace, name, patch)
        except ApiError as error:
            if error.status != 404:
                raise

    async def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> None:
        """Delete one object of the board's namespace; absent is fine."""
        await self._client.delete(kind, self._namespace, name, grace_seconds=grace_seconds)


class StepRunner:
    """Runs the steps of each component of each board, one sequence at a time.

    Steps that take long go on while passes continue, so that a switchover of one shard delays
    neither drift repair nor another engine. ``on_end`` is called with the board's key when a
    sequence ends.
    """

    def __init__(self, client: KubeClient, on_end: Callable[[Key], None]) -> None:
        self._client = client
        self._on_end = on_end
        self._running: dict[tuple[Key, str], asyncio.Task[None]] = {}
        self._doing: dict[tuple[Key, str], str] = {}

    async def run(self, key: Key, component: str, steps: Sequence[Step], outcome: Outcome) -> None:
        """Start the steps unless earlier ones still run, and wait for a moment.

        Raises:
            Exception: what a step raised that ended, in this pass or between the last one and this.
        """
        slot = (key, component)
        task = self._running.get(slot)
        if task is None:
            if not steps:
                return
            task = asyncio.create_task(self._sequence(slot, steps))
            task.add_done_callback(lambda _: self._on_end(key))
            self._running[slot] = task
        outcome.stepped.add(component)
        await asyncio.wait({task}, timeout=STEP_PATIENCE_SECONDS)
        if not task.done():
            outcome.busy[component] = self._doing.get(slot, "")
            return
        del self._running[slot]
        task.result()

    async def stop(self) -> None:
        """Cancel everything that runs and wait for its end."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _sequence(self, slot: tuple[Key, str], steps: Sequence[Step]) -> None:
        (namespace, name), component = slot
        access = BoardAccess(self._client, namespace)
        for step in steps:
            log.info(
                "step", scoreboard=name, component=component, step=step.name, detail=step.detail
            )
            self._doing[slot] = f"{step.name}: {step.detail}"
            await asyncio.wait_for(step.run(access), timeout=step.timeout_seconds)


async def carry_out(
    plan: Plan, client: KubeClient, cache: ObjectCache, runner: StepRunner, key: Key
) -> Outcome:
    """Execute the plan. Components run side by side; one that fails stops no other."""
    outcome = Outcome()
    await asyncio.gather(
        *(_component(part, client, cache, runner, key, outcome) for part in plan.parts)
    )
    for live in plan.prune:
        meta = live["metadata"]
        log.info("prune", kind=live["kind"], name=meta["name"], namespace=key[0])
        await client.delete(live["kind"], key[0], meta["name"], uid=meta["uid"])
        outcome.writes += 1
    return outcome


async def _component(
    part: ComponentPlan,
    client: KubeClient,
    cache: ObjectCache,
    runner: StepRunner,
    key: Key,
    outcome: Outcome,
) -> None:
    name = part.component.name
    if part.crash is not None:
        log.error("component failed", scoreboard=key, component=name, exc_info=part.crash)
        outcome.crashed = True
        return
    try:
        for change in part.changes:
            await _write(change, name, client, cache, outcome)
        await runner.run(key, name, part.steps, outcome)
    except INTERRUPTIONS as error:
        log.warning("interrupted", component=name, error=repr(error))
        outcome.failures.setdefault(name, f"interrupted: {error!r}")
    except ApiError as error:
        log.warning("step refused", component=name, error=str(error))
        outcome.failures.setdefault(name, f"the API server refused a step: {error.message}")
    except Exception as error:
        log.exception("component failed", scoreboard=key, component=name)
        outcome.failures.setdefault(name, f"internal error: {error!r}")
        outcome.crashed = True


async def _write(
    change: Change, component: str, client: KubeClient, cache: ObjectCache, outcome: Outcome
) -> None:
    """Write one object. A refusal is noted and stops neither other objects nor the steps."""
    log.info("apply", component=component, object=change.title, why=change.why)
    desired = change.object
    outcome.writes += 1
    try:
        if change.create:
            live = await client.create(desired["kind"], desired["metadata"]["namespace"], desired)
        else:
            live = await client.apply(desired)
    except ApiError as error:
        # A conflict or a refusal: the next pass sees the newer state, or says what is refused.
        log.warning("refused", component=component, object=change.title, error=str(error))
        message = f"the API server refused {change.title}: {error.message}"
        outcome.failures.setdefault(component, message)
        return
    cache.absorb(live)
