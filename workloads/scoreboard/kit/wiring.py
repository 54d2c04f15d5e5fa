"""What the wiring of the score and the notification service has in common."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeAlias

import structlog

from scoreboard.kit.board import Board
from scoreboard.kit.cache import Cache
from scoreboard.kit.health import Health
from scoreboard.kit.shards import Shards

Work: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0

log = structlog.get_logger("scoreboard.wiring")


def add_checks(health: Health, shards: Shards, cache: Cache, board: Board) -> None:
    """Say what /readyz waits for (the board) and what /api/v1/health tells besides."""

    def shards_up() -> str | None:
        down = [str(shard.index) for shard in shards.all() if shard.state() == "down"]
        return "shards away: " + ", ".join(down) if down else None

    def cache_up() -> str | None:
        return "not reached" if cache.state() == "down" else None

    health.add_check("board", board.not_ready)
    health.add_check("kafka", board.not_live, required=False)
    health.add_check("database", shards_up, required=False)
    health.add_check("cache", cache_up, required=False)


async def supervised(work: Work) -> None:
    """Run work to its end; when it fails, log that, pause and begin again."""
    pause = FIRST_PAUSE_SECONDS
    while True:
        began = time.monotonic()
        try:
            await work()
            return
        except Exception as error:
            # A task that ends unnoticed stops a duty of the process for as long as it lives.
            if time.monotonic() - began > LONGEST_PAUSE_SECONDS:
                pause = FIRST_PAUSE_SECONDS  # it went well for a while
            log.error(
                "background work failed",
                work=getattr(work, "__qualname__", repr(work)),
                exc_info=error,
            )
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)


def background(stack: contextlib.AsyncExitStack, *works: Work) -> None:
    """Run each of `works`, supervised, until the stack is unwound."""
    tasks = [asyncio.create_task(supervised(work)) for work in works]

    async def cancel() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(cancel)
