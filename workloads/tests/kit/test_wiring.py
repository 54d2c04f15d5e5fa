"""Background work goes on after a failure and ends with its stack."""

import asyncio
import contextlib

import pytest

from scoreboard.kit import wiring


async def test_work_that_fails_begins_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "FIRST_PAUSE_SECONDS", 0.001)
    runs: list[str] = []
    going, ended = asyncio.Event(), asyncio.Event()

    async def fails_twice() -> None:
        runs.append("work")
        if len(runs) < 3:
            raise ValueError("bug")
        going.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with contextlib.AsyncExitStack() as stack:
        wiring.background(stack, fails_twice)
        async with asyncio.timeout(10):
            await going.wait()
    assert (len(runs), ended.is_set()) == (3, True)


async def test_work_that_ends_is_not_begun_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wiring, "FIRST_PAUSE_SECONDS", 0.001)
    runs: list[int] = []

    async def once() -> None:
        runs.append(1)

    await wiring.supervised(once)
    assert runs == [1]
