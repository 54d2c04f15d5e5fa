import asyncio
import contextlib
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest

from scoreboard.users import upkeep
from scoreboard.users.claims import Claims
from scoreboard.users.repository import Repository


async def ran(task: asyncio.Task[None], enough: asyncio.Event) -> None:
    async with asyncio.timeout(5):
        await enough.wait()
    assert not task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("error", [ConnectionError(), KeyError("bug")])
async def test_an_exception_is_logged_and_does_not_end_the_task(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Mock()
    monkeypatch.setattr(upkeep, "log", log)
    enough = asyncio.Event()
    calls = 0

    async def work() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            enough.set()
        raise error

    await ran(asyncio.create_task(upkeep.every(0.001, "work", work)), enough)
    lines = log.warning if isinstance(error, ConnectionError) else log.error
    assert len(lines.mock_calls) >= 2


async def test_a_shard_that_is_away_does_not_hold_up_the_others() -> None:
    shards: Any = Mock(all=lambda: [Mock(index=0), Mock(index=1)])
    seen = []

    async def work(shard: Any) -> int:
        seen.append(shard.index)
        if shard.index == 0:
            raise ConnectionError
        return 1

    await upkeep.on_each(shards, "work", work)()
    assert seen == [0, 1]


async def test_sweeps_are_bounded_and_tell_what_they_did() -> None:
    connection = AsyncMock()
    connection.execute.return_value = "DELETE 7"
    shard: Any = Mock(run=lambda work, **_: work(connection))
    nothing: Any = None
    for sweep in (Repository(nothing).sweep_sessions, Claims(nothing).sweep_fences):
        assert await sweep(shard) == 7
        statement, *arguments = connection.execute.await_args.args
        assert "limit $2" in statement
        assert arguments == [30, 1000]
