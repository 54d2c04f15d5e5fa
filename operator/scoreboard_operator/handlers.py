"""The only module that imports kopf: one daemon per Scoreboard keeps it reconciled.

Kopf watches Scoreboards, starts and stops the daemon and holds the finalizer; everything else
(when a pass runs, what it does) is :mod:`scoreboard_operator.reconcile`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from scoreboard_operator.api import GROUP, PLURAL, VERSION
from scoreboard_operator.components.base import Object
from scoreboard_operator.reconcile.finalize import finalize
from scoreboard_operator.reconcile.loop import Bells, Pulse, keep
from scoreboard_operator.reconcile.passes import Environment

FINALIZER = "scoreboard.dev/finalizer"


def registry_for(env: Environment, bells: Bells, pulse: Pulse) -> kopf.OperatorRegistry:
    """A kopf registry with the one daemon, bound to this process's environment."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    # No cancellation timeout: at deletion the daemon finalizes, which takes the time it takes
    # (every step of it is bounded); kopf looks every second whether it has ended.
    @kopf.daemon(GROUP, VERSION, PLURAL, registry=registry, cancellation_polling=1.0)
    async def scoreboard(
        namespace: str | None, name: str, body: kopf.Body, stopped: kopf.DaemonStopped, **_: Any
    ) -> None:
        key = (namespace or "", name)
        passes = asyncio.create_task(keep(env, bells, pulse, key))
        halt = asyncio.create_task(_until(stopped))
        await asyncio.wait({passes, halt}, return_when=asyncio.FIRST_COMPLETED)
        for task in (passes, halt):
            task.cancel()
        await asyncio.gather(passes, halt, return_exceptions=True)
        resource: Object = env.cache.board(key) or dict(body)
        if resource["metadata"].get("deletionTimestamp"):
            await finalize(env, key, resource)

    return registry


def settings() -> kopf.OperatorSettings:
    """Kopf settings: no Events of kopf's own, no annotations beside the finalizer."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.persistence.finalizer = FINALIZER
    chosen.watching.server_timeout = 290
    chosen.watching.connect_timeout = 30
    chosen.scanning.disabled = True
    return chosen


async def _until(stopped: kopf.DaemonStopped) -> None:
    await stopped.wait()


async def operate(
    env: Environment, bells: Bells, pulse: Pulse, identity: str, stop: asyncio.Event
) -> None:
    """Run kopf under the name ``identity`` until ``stop`` is set."""
    await kopf.operator(
        registry=registry_for(env, bells, pulse),
        settings=settings(),
        clusterwide=True,
        standalone=True,
        # kopf would look for a user name otherwise, which a container need not have.
        identity=identity,  # type: ignore[arg-type]
        stop_flag=stop,
    )
