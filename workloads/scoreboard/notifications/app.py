"""Wires the notification service: the board, the hub and the WebSocket route."""

import contextlib
import functools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI

from scoreboard.kit import serve, system_events, tokens
from scoreboard.kit.authn import Authenticator
from scoreboard.kit.board import SCORE_UPDATES, USER_ACTIONS, Board
from scoreboard.kit.cache import Cache
from scoreboard.kit.health import Health
from scoreboard.kit.kafka import KafkaAccess, Producer
from scoreboard.kit.kafka_reader import PartitionReader
from scoreboard.kit.sessions import SessionGate
from scoreboard.kit.settings import Settings
from scoreboard.kit.shards import Shards
from scoreboard.kit.wiring import add_checks, background
from scoreboard.notifications.endpoints import router
from scoreboard.notifications.hub import Hub
from scoreboard.notifications.protocol import MAX_MESSAGE_CHARS
from scoreboard.notifications.repository import row_check
from scoreboard.notifications.service import NotificationService

MAX_CONNECTIONS: Final = 20_000
SERVER_OPTIONS: Final[dict[str, Any]] = {
    "ws": "websockets-sansio",
    "ws_max_size": MAX_MESSAGE_CHARS * 4,
    "ws_ping_interval": 20.0,
    "ws_ping_timeout": 20.0,
    # Frames are small and many; a compression window per socket costs more memory than it saves.
    "ws_per_message_deflate": False,
}


@dataclass(frozen=True)
class NotificationResources:
    """What endpoints reach through `app.state.resources`."""

    service: NotificationService
    authenticator: Authenticator


def create_app(settings: Settings, health: Health) -> FastAPI:
    """Return the notification service's application."""
    return serve.create_app(
        settings,
        health,
        routers=[router],
        resources=resources,
        title="Scoreboard notification service",
    )


@contextlib.asynccontextmanager
async def resources(settings: Settings, health: Health) -> AsyncIterator[NotificationResources]:
    """Open what the service needs. Raises SettingsError when a file is missing."""
    keys = settings.file("jwt/jwks.json", tokens.parse_jwks)
    keys.get()
    shards = Shards.from_settings(settings, pool_size=int(settings.number("DB_POOL_SIZE", 3)))
    cache = Cache.from_settings(settings)
    access = KafkaAccess.from_settings(settings)
    producer = Producer(access, settings.pod)
    board = Board(shards, PartitionReader(access, [SCORE_UPDATES, USER_ACTIONS], settings.pod))
    hub = Hub(board)
    verifier = tokens.TokenVerifier(keys)
    gate = SessionGate(cache, row_check(shards))
    origins = settings.extra.get("ALLOWED_ORIGINS", "")
    service = NotificationService(
        hub,
        verifier,
        gate,
        health,
        allowed_origins=[origin.strip() for origin in origins.split(",") if origin.strip()],
        max_connections=int(settings.number("MAX_CONNECTIONS", MAX_CONNECTIONS)),
    )
    board.on_user_action = service.on_user_action
    add_checks(health, shards, cache, board)
    async with contextlib.AsyncExitStack() as stack:
        for part in (shards, cache, producer, board):
            stack.push_async_callback(part.close)
            await part.start()
        background(
            stack,
            hub.run,
            service.recheck,
            functools.partial(service.drain_on_stop, settings.drain_seconds),
            functools.partial(system_events.announce_start, producer, settings),
        )
        yield NotificationResources(service, Authenticator(verifier, gate))
