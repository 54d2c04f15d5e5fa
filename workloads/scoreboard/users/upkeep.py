"""Background work of the user service: what has to be done again and again, whatever fails.

Every replica does all of it. Each piece works on few rows, and a row dealt with twice is dealt
with once, so nothing has to be agreed on.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from scoreboard.kit.problems import PEER_ERRORS
from scoreboard.kit.shards import Shard, Shards

log = structlog.get_logger("scoreboard.users.upkeep")


async def every(seconds: float, name: str, work: Callable[[], Awaitable[Any]]) -> None:
    """Run `work` about every so many seconds, for ever; an exception is logged and no end."""
    while True:
        await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311  only spreads load
        try:
            await work()
        except Exception as error:
            _report(name, error)


def on_each(
    shards: Shards, name: str, work: Callable[[Shard], Awaitable[int]]
) -> Callable[[], Awaitable[None]]:
    """Return what does `work`, which tells how many rows it dealt with, on every shard.

    A shard that fails does not keep the others from their turn.
    """

    async def run() -> None:
        for shard in shards.all():
            try:
                done = await work(shard)
            except Exception as error:
                _report(name, error, shard=shard.index)
                continue
            if done:
                log.info("upkeep", task=name, shard=shard.index, rows=done)

    return run


def _report(name: str, error: Exception, **facts: Any) -> None:
    if isinstance(error, PEER_ERRORS):
        log.warning("upkeep has to wait", task=name, error=repr(error), **facts)
    else:
        log.error("upkeep failed", task=name, exc_info=error, **facts)
