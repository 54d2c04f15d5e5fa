"""When the next pass of a Scoreboard runs: at a change, at a resync, or after a back-off.

One task per Scoreboard; passes of different Scoreboards run side by side, and one that waits or
fails delays no other.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import structlog

from scoreboard_operator.kube.cache import Key
from scoreboard_operator.metrics import BOARDS, PASS_SECONDS, PASS_WRITES, PASSES, QUEUE_SECONDS
from scoreboard_operator.reconcile.passes import Environment, PassResult, run_pass

log = structlog.get_logger(__name__)

RESYNC_SECONDS = {
    "ready": 4.0,
    "waiting": 1.5,
    "stalled": 4.0,
    "paused": 10.0,
    "deleting": 1.0,
    "absent": 1.0,
}
"""Longest time to the next pass by the result of the last one. Engines have no watch, so a topic
setting edited by hand is found at the next resync; objects wake their pass at once."""

DEBOUNCE_SECONDS = 0.1
"""Changes come in bursts (a pod's start is a dozen events); a pass waits for the burst to end."""

ABSENCES = 15
"""Kopf's watch and ours are two: a Scoreboard kopf announced may reach our cache a moment later.
One that is not there after so many looks is gone."""

PASS_LIMIT_SECONDS = 120.0
"""A pass that takes longer is abandoned and counted as failed."""

FIRST_BACKOFF_SECONDS = 1.0
LAST_BACKOFF_SECONDS = 60.0


class Bell:
    """Wakes the loop of one Scoreboard and remembers since when it has been ringing."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._since: float | None = None

    def ring(self) -> None:
        """Ask for a pass."""
        if self._since is None:
            self._since = time.monotonic()
        self._event.set()

    async def wait(self, timeout: float) -> None:
        """Return at the next ring, or after ``timeout`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), timeout)

    def answer(self) -> float:
        """Take the ring; returns the seconds it has been waiting."""
        waited = time.monotonic() - self._since if self._since is not None else 0.0
        self._since = None
        self._event.clear()
        return waited


class Bells:
    """The bells of all Scoreboards."""

    def __init__(self) -> None:
        self._bells: dict[Key, Bell] = {}

    def of(self, key: Key) -> Bell:
        """The bell of one Scoreboard, made at first use."""
        return self._bells.setdefault(key, Bell())

    def ring(self, key: Key | None) -> None:
        """Wake one Scoreboard, or all of them."""
        if key is None:
            for bell in self._bells.values():
                bell.ring()
        elif key in self._bells:
            self._bells[key].ring()

    def drop(self, key: Key) -> None:
        """Forget a Scoreboard that is gone."""
        self._bells.pop(key, None)


class Keepers:
    """One task per Scoreboard that runs its passes, started when it is first heard of."""

    def __init__(self, env: Environment, bells: Bells) -> None:
        self._env = env
        self._bells = bells
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self.last_pass: dict[Key, float] = {}
        """When the last pass of each Scoreboard ended (monotonic seconds), for health checks."""

    def wake(self, key: Key) -> None:
        """See that the Scoreboard is kept, and ask for a pass."""
        task = self._tasks.get(key)
        if task is None or task.done():
            self._bells.of(key)
            self.last_pass[key] = time.monotonic()
            self._tasks[key] = asyncio.create_task(self._keep(key), name="/".join(key))
        self._bells.ring(key)

    async def stop(self) -> None:
        """End all passes; returns when none runs any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._env.runner.stop()

    async def _keep(self, key: Key) -> None:
        """Run passes until the Scoreboard is gone."""
        bell = self._bells.of(key)
        failures = absences = 0
        ready_gauge: str | None = None
        try:
            while True:
                QUEUE_SECONDS.observe(bell.answer())
                started = time.monotonic()
                outcome = await self._pass(key)
                failures = failures + 1 if outcome.result == "failed" else 0
                _record(outcome, time.monotonic() - started)
                self.last_pass[key] = time.monotonic()
                absences = absences + 1 if outcome.result == "absent" else 0
                if outcome.result == "gone" or absences > ABSENCES:
                    return
                ready_gauge = _count(ready_gauge, str(outcome.result == "ready").lower())
                await bell.wait(_pause(outcome.result, failures))
                await asyncio.sleep(DEBOUNCE_SECONDS)
        finally:
            _count(ready_gauge, None)
            self.last_pass.pop(key, None)
            self._bells.drop(key)

    async def _pass(self, key: Key) -> PassResult:
        try:
            return await asyncio.wait_for(run_pass(self._env, key), PASS_LIMIT_SECONDS)
        except Exception:
            # Ours: counted, logged with the traceback, tried again with back-off.
            log.exception("pass failed", scoreboard="/".join(key))
            return PassResult("failed")


def _pause(result: str, failures: int) -> float:
    """Seconds until the next pass when nothing rings before."""
    seconds: float
    if result == "failed":
        seconds = min(FIRST_BACKOFF_SECONDS * 2.0 ** (failures - 1), LAST_BACKOFF_SECONDS)
    else:
        seconds = RESYNC_SECONDS[result]
    return seconds * random.uniform(0.9, 1.1)  # noqa: S311


def _record(outcome: PassResult, seconds: float) -> None:
    PASSES.labels(outcome.result).inc()
    PASS_SECONDS.labels(str(outcome.writes == 0).lower()).observe(seconds)
    PASS_WRITES.observe(outcome.writes)


def _count(before: str | None, now: str | None) -> str | None:
    if before is not None:
        BOARDS.labels(before).dec()
    if now is not None:
        BOARDS.labels(now).inc()
    return now
