"""When passes run: one task per Scoreboard, faults and absences of one are no other's."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from scoreboard_operator.kube.cache import Key
from scoreboard_operator.reconcile import loop as module
from scoreboard_operator.reconcile.loop import Bell, Bells, Keepers
from scoreboard_operator.reconcile.passes import PassResult

GOOD, BAD = ("ns", "good"), ("ns", "bad")


class Runner:
    async def stop(self) -> None: ...


class Env:
    runner = Runner()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEBOUNCE_SECONDS", 0)
    monkeypatch.setattr(module, "FIRST_BACKOFF_SECONDS", 0.001)
    pauses = dict.fromkeys(module.RESYNC_SECONDS, 0.001)
    monkeypatch.setattr(module, "RESYNC_SECONDS", pauses)


def _keepers(monkeypatch: pytest.MonkeyPatch, passes: Any) -> Keepers:
    monkeypatch.setattr(module, "run_pass", passes)
    return Keepers(Env(), Bells())  # type: ignore[arg-type]


async def _until(condition: Any) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("quick")
async def test_a_crashing_board_delays_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[Key] = Counter()

    async def run(env: Any, key: Key) -> PassResult:
        seen[key] += 1
        if key == BAD:
            raise ValueError("bug")
        return PassResult("ready")

    keepers = _keepers(monkeypatch, run)
    keepers.wake(BAD)
    keepers.wake(GOOD)
    await _until(lambda: seen[GOOD] >= 10 and seen[BAD] >= 2)
    await keepers.stop()
    assert keepers.last_pass == {}


@pytest.mark.usefixtures("quick")
async def test_a_board_has_one_task_however_often_it_is_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    running, most = 0, 0

    async def run(env: Any, key: Key) -> PassResult:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        return PassResult("ready")

    keepers = _keepers(monkeypatch, run)
    for _ in range(50):
        keepers.wake(GOOD)
        await asyncio.sleep(0)
    await keepers.stop()
    assert most == 1


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ["gone", "absent"])
async def test_a_board_that_is_gone_is_let_go_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    results = {GOOD: ending}
    seen: Counter[str] = Counter()

    async def run(env: Any, key: Key) -> PassResult:
        seen[results[key]] += 1
        return PassResult(results[key])

    keepers = _keepers(monkeypatch, run)
    keepers.wake(GOOD)
    await _until(lambda: not keepers.last_pass)
    results[GOOD] = "ready"
    keepers.wake(GOOD)
    await _until(lambda: seen["ready"] >= 2)
    await keepers.stop()


async def test_a_bell_rung_during_a_pass_is_heard_after_it() -> None:
    bell = Bell()
    bell.ring()
    assert bell.answer() >= 0
    bell.ring()
    async with asyncio.timeout(5):
        await bell.wait(3600)
