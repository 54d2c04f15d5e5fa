"""Entry point: wait for the Lease, then watch and reconcile until told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import structlog

from scoreboard_operator import handlers
from scoreboard_operator.components.base import ImageSet
from scoreboard_operator.components.registry import COMPONENTS
from scoreboard_operator.health import Health, serve
from scoreboard_operator.kube.cache import ObjectCache
from scoreboard_operator.kube.client import KubeClient
from scoreboard_operator.kube.lease import Lease
from scoreboard_operator.metrics import LEADER
from scoreboard_operator.reconcile.apply import StepRunner
from scoreboard_operator.reconcile.loop import Bells, Keepers
from scoreboard_operator.reconcile.passes import Environment

log = structlog.get_logger(__name__)

HTTP_PORT = 8080


def default_images() -> ImageSet:
    """Image references this operator was released with, from the chart's environment.

    Raises:
        SystemExit: a ``RELATED_IMAGE_*`` variable is missing; the message names it.
    """
    found: dict[str, str] = {}
    for component in ImageSet.__dataclass_fields__:
        variable = f"RELATED_IMAGE_{component.upper()}"
        reference = os.environ.get(variable)
        if not reference:
            sys.exit(f"scoreboard-operator: {variable} is not set: the chart sets it from images")
        found[component] = reference
    return ImageSet(**found)


async def run() -> None:
    """Run one replica: standby until the Lease is held, then leader until a signal or its loss."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    client = await KubeClient.connect()
    identity = os.environ.get("POD_NAME", f"local-{os.getpid()}")
    namespace = os.environ.get("POD_NAMESPACE", "scoreboard-system")
    lease = Lease(client, namespace, "scoreboard-operator", identity)
    health = Health()
    runner = await serve(health, HTTP_PORT)
    try:
        if await _first(lease.acquire(), stop.wait()) == 0:
            LEADER.set(1)
            log.info("leading", identity=identity)
            await _lead(client, lease, health, identity, stop)
            await lease.release()
    finally:
        LEADER.set(0)
        await runner.cleanup()
        await client.close()


async def _lead(
    client: KubeClient, lease: Lease, health: Health, identity: str, stop: asyncio.Event
) -> None:
    """Reconcile until told to stop; a lost Lease ends the process at once."""
    holding = asyncio.create_task(lease.hold())
    holding.add_done_callback(_exit_when_lost)
    bells = Bells()
    cache = ObjectCache(client, bells.ring)
    runner = StepRunner(client, bells.ring)
    env = Environment(client, cache, COMPONENTS, default_images(), runner)
    if await _first(cache.start(), stop.wait()) == 0:
        keepers = Keepers(env, bells)
        health.lead(cache, keepers)
        halt = asyncio.Event()
        operating = asyncio.create_task(handlers.operate(keepers, identity, halt))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({operating, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if operating.done():
            # Kopf ended by itself: raise what ended it; the pod restarts, another replica leads.
            operating.result()
        # No pass may run when the Lease is given up: the next leader starts within a second.
        await keepers.stop()
        halt.set()
        await asyncio.wait({operating}, timeout=5.0)
    holding.remove_done_callback(_exit_when_lost)
    holding.cancel()
    await cache.stop()


def _exit_when_lost(holding: asyncio.Task[None]) -> None:
    if not holding.cancelled():
        # Another replica may lead by now: end at once, without an orderly goodbye.
        log.error("no longer the leader; exiting", error=repr(holding.exception()))
        os._exit(3)


async def _first(*coroutines: Coroutine[Any, Any, Any]) -> int:
    """Index of the coroutine that finished first; the others are cancelled.

    Raises:
        Exception: what that coroutine raised.
    """
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
    first = next(index for index, task in enumerate(tasks) if task.done())
    tasks[first].result()
    return first


def configure_logging() -> None:
    """JSON lines on stdout; LOG_LEVEL chooses the level."""
    level = logging.getLevelNamesMapping().get(os.environ.get("LOG_LEVEL", "INFO").upper(), 20)
    logging.basicConfig(level=max(level, logging.WARNING), format="%(message)s")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
    )


def main() -> None:
    """Console entry point."""
    configure_logging()
    asyncio.run(run())


if __name__ == "__main__":
    main()
