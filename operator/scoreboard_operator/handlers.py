"""The only module that imports kopf: a Scoreboard's event wakes its reconcile, nothing else.

Kopf's daemons are not used on purpose (docs/decisions/0003): none is started for a resource that is
being deleted already, so a restart in the middle of a deletion would skip what the deletion policy
asks for. The finalizer belongs to the pass instead.
"""

from __future__ import annotations

import asyncio
from typing import Any

import kopf

from scoreboard_operator.api import GROUP, PLURAL, VERSION
from scoreboard_operator.reconcile.loop import Keepers


def registry_for(keepers: Keepers) -> kopf.OperatorRegistry:
    """A kopf registry with the one handler, bound to this process's loops."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def scoreboard(namespace: str | None, name: str | None, **_: Any) -> None:
        if namespace and name:
            keepers.wake((namespace, name))

    return registry


def settings() -> kopf.OperatorSettings:
    """Kopf settings: no Events of kopf's own, no scanning for new kinds."""
    chosen = kopf.OperatorSettings()
    chosen.posting.enabled = False
    chosen.watching.server_timeout = 290
    chosen.watching.connect_timeout = 30
    chosen.scanning.disabled = True
    return chosen


async def operate(keepers: Keepers, identity: str, stop: asyncio.Event) -> None:
    """Run kopf under the name ``identity`` until ``stop`` is set."""
    await kopf.operator(
        registry=registry_for(keepers),
        settings=settings(),
        clusterwide=True,
        standalone=True,
        # kopf would look for a user name otherwise, which a container need not have.
        identity=identity,  # type: ignore[arg-type]
        stop_flag=stop,
    )
