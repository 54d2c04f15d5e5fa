"""Carrying out: steps that take long, refusals that stop nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from boards import board

from scoreboard_operator.components.base import Access, Component, ComponentStatus, Step
from scoreboard_operator.kube.client import ApiError
from scoreboard_operator.reconcile import apply as module
from scoreboard_operator.reconcile.apply import Outcome, StepRunner, carry_out
from scoreboard_operator.reconcile.plan import Change, ComponentPlan, Plan

KEY = ("demo", "demo")
COMPONENT = Component(
    name="database",
    condition="DatabaseReady",
    desired=lambda b, s: [],
    status=lambda b, s, o: ComponentStatus(True, "Ready", ""),
)


@pytest.fixture
def rings() -> list[Any]:
    return []


@pytest.fixture
def runner(rings: list[Any], monkeypatch: pytest.MonkeyPatch) -> StepRunner:
    monkeypatch.setattr(module, "STEP_PATIENCE_SECONDS", 0.01)
    return StepRunner(None, rings.append)  # type: ignore[arg-type]


async def test_a_long_step_goes_on_beside_the_next_passes(
    runner: StepRunner, rings: list[Any]
) -> None:
    gate, ran = asyncio.Event(), []

    async def wait(access: Access) -> None:
        ran.append("once")
        await gate.wait()

    steps = [Step("switchover-0", "a to b", wait)]
    for _ in range(2):
        outcome = Outcome()
        await runner.run(KEY, "database", steps, outcome)
        assert outcome.busy == {"database": "switchover-0: a to b"}
    gate.set()
    await runner.run(KEY, "database", (), Outcome())
    assert ran == ["once"]
    assert rings == [KEY]


async def test_what_a_step_raised_is_told_once(runner: StepRunner) -> None:
    async def fail(access: Access) -> None:
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        await runner.run(KEY, "kafka", [Step("x", "y", fail)], Outcome())
    await runner.run(KEY, "kafka", (), Outcome())


async def test_stop_ends_what_runs(runner: StepRunner) -> None:
    ended = []

    async def forever(access: Access) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    await runner.run(KEY, "kafka", [Step("x", "y", forever)], Outcome())
    await runner.stop()
    assert ended == [True]


class Api:
    """Refuses the object named bad."""

    async def apply(self, desired: dict[str, Any]) -> dict[str, Any]:
        if desired["metadata"]["name"] == "bad":
            raise ApiError(422, "spec.x is immutable")
        return desired


class Cache:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def absorb(self, live: dict[str, Any]) -> None:
        self.seen.append(live["metadata"]["name"])


def _change(name: str) -> Change:
    meta = {"name": name, "namespace": board().namespace}
    return Change({"kind": "Service", "metadata": meta}, "missing")


async def test_a_refused_object_stops_neither_others_nor_steps(runner: StepRunner) -> None:
    stepped: list[bool] = []

    async def step(access: Access) -> None:
        stepped.append(True)

    changes = (_change("bad"), _change("good"))
    part = ComponentPlan(COMPONENT, changes, steps=(Step("x", "y", step),))
    cache = Cache()
    outcome = await carry_out(Plan((part,), ()), Api(), cache, runner, KEY)  # type: ignore[arg-type]
    assert cache.seen == ["good"]
    assert stepped == [True]
    assert "Service/bad: spec.x is immutable" in outcome.failures["database"]


async def test_a_crash_is_told_and_stays_with_its_component(runner: StepRunner) -> None:
    crashed = ComponentPlan(COMPONENT, crash=ValueError("x"))
    fine = ComponentPlan(COMPONENT, (_change("good"),))
    cache = Cache()
    plan = Plan((crashed, fine), ())
    outcome = await carry_out(plan, Api(), cache, runner, KEY)  # type: ignore[arg-type]
    assert outcome.crashed
    assert cache.seen == ["good"]
