"""Carrying a plan out: objects in order, then steps, then prunes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiohttp
import structlog

from scoreboard_operator.components.base import Object
from scoreboard_operator.kube.cache import ObjectCache
from scoreboard_operator.kube.client import ApiError, KubeClient
from scoreboard_operator.reconcile.plan import ComponentPlan, Plan

log = structlog.get_logger(__name__)


@dataclass
class Outcome:
    """What a plan's execution came to: writes made, and per component what failed and why."""

    writes: int = 0
    stepped: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)


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


async def carry_out(plan: Plan, client: KubeClient, cache: ObjectCache, namespace: str) -> Outcome:
    """Execute the plan. Components run side by side; one that fails stops no other."""
    outcome = Outcome()
    await asyncio.gather(
        *(_component(part, client, cache, namespace, outcome) for part in plan.parts)
    )
    for live in plan.prune:
        meta = live["metadata"]
        log.info("prune", kind=live["kind"], name=meta["name"], namespace=namespace)
        await client.delete(live["kind"], namespace, meta["name"], uid=meta["uid"])
        outcome.writes += 1
    return outcome


async def _component(
    part: ComponentPlan,
    client: KubeClient,
    cache: ObjectCache,
    namespace: str,
    outcome: Outcome,
) -> None:
    name = part.component.name
    try:
        for change in part.changes:
            log.info("apply", component=name, object=change.title, why=change.why)
            cache.absorb(await client.apply(change.object))
            outcome.writes += 1
        access = BoardAccess(client, namespace)
        for step in part.steps:
            log.info("step", component=name, step=step.name, detail=step.detail)
            outcome.stepped.add(name)
            await asyncio.wait_for(step.run(access), timeout=step.timeout_seconds)
    except ApiError as error:
        # A conflict or a refusal: the next pass sees the newer state, or says what is refused.
        log.warning("refused", component=name, error=str(error))
        outcome.failures[name] = f"the API server refused a write: {error.message}"
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        log.warning("interrupted", component=name, error=repr(error))
        outcome.failures[name] = f"interrupted: {error!r}"
