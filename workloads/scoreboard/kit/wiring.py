"""What the wiring of the score and the notification service has in common."""

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

from scoreboard.kit.board import Board
from scoreboard.kit.cache import Cache
from scoreboard.kit.health import Health
from scoreboard.kit.shards import Shards


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


def background(
    stack: contextlib.AsyncExitStack, *coroutines: Coroutine[Any, Any, None]
) -> list[asyncio.Task[None]]:
    """Run coroutines until the stack is unwound."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]

    async def cancel() -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(cancel)
    return tasks
