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

RESYNC_SECONDS = {"ready": 4.0, "waiting": 1.5, "stalled": 4.0, "paused": 10.0}
"""Longest time to the next pass by the result of the last one. Engines have no watch, so a topic
setting edited by hand is found at the next resync; objects wake their pass at once."""

DEBOUNCE_SECONDS = 0.1
"""Changes come in bursts (a pod's start is a dozen events); a pass waits for the burst to end."""

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


class Pulse:
    """When the last pass ended, for the health check."""

    def __init__(self) -> None:
        self.last_pass = time.monotonic()
        self.running: set[Key] = set()


async def keep(env: Environment, bells: Bells, pulse: Pulse, key: Key) -> None:
    """Run passes for one Scoreboard until it is gone or the task is cancelled."""
    bell = bells.of(key)
    bell.ring()
    failures = 0
    pulse.running.add(key)
    ready_gauge: str | None = None
    try:
        while True:
            QUEUE_SECONDS.observe(bell.answer())
            started = time.monotonic()
            try:
                outcome = await asyncio.wait_for(run_pass(env, key), PASS_LIMIT_SECONDS)
                failures = 0
            except Exception:
                # Ours: counted, logged with the traceback, tried again with back-off.
                failures += 1
                log.exception("pass failed", scoreboard="/".join(key), failures=failures)
                outcome = PassResult("failed")
            _record(outcome, time.monotonic() - started)
            pulse.last_pass = time.monotonic()
            if outcome.result == "gone":
                return
            ready_gauge = _count(ready_gauge, str(outcome.result == "ready").lower())
            await bell.wait(_pause(outcome.result, failures))
            await asyncio.sleep(DEBOUNCE_SECONDS)
    finally:
        _count(ready_gauge, None)
        pulse.running.discard(key)
        bells.drop(key)


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
