"""Wires the score service: files, pools, cache, Kafka, the board and background tasks."""

import contextlib
import functools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import FastAPI

from scoreboard.kit import serve, signing, system_events, tokens
from scoreboard.kit.authn import Authenticator
from scoreboard.kit.board import SCORE_UPDATES, USER_ACTIONS, Board
from scoreboard.kit.cache import Cache
from scoreboard.kit.health import Health
from scoreboard.kit.kafka import KafkaAccess, Producer
from scoreboard.kit.kafka_reader import PartitionReader
from scoreboard.kit.outbox import OutboxRelay
from scoreboard.kit.sessions import SessionGate, row_check
from scoreboard.kit.settings import Settings
from scoreboard.kit.shards import Shards
from scoreboard.kit.wiring import add_checks, background
from scoreboard.scores.endpoints import router
from scoreboard.scores.rules import parse_rules
from scoreboard.scores.service import ScoreService


@dataclass(frozen=True)
class ScoreResources:
    """What endpoints reach through `app.state.resources`."""

    service: ScoreService
    authenticator: Authenticator
    master_key: Callable[[], bytes]


def create_app(settings: Settings, health: Health) -> FastAPI:
    """Return the score service's application."""
    return serve.create_app(
        settings, health, routers=[router], resources=resources, title="Scoreboard score service"
    )


@contextlib.asynccontextmanager
async def resources(settings: Settings, health: Health) -> AsyncIterator[ScoreResources]:
    """Open what the service needs. The key files, the rules and the shard map must be there;
    peers that are away degrade the service and do not keep it from starting.

    Raises SettingsError when a file is missing.
    """
    keys = settings.file("jwt/jwks.json", tokens.parse_jwks)
    master = settings.file("request-signing/master-key", signing.parse_master_key)
    rules = settings.file("rules/rules.json", parse_rules)
    keys.get(), master.get(), rules.get()
    # Per shard: the writer, the relay, and a few for sessions and look-ups.
    shards = Shards.from_settings(settings, pool_size=int(settings.number("DB_POOL_SIZE", 5)))
    cache = Cache.from_settings(settings)
    access = KafkaAccess.from_settings(settings)
    producer = Producer(access, settings.pod)
    relay = OutboxRelay(
        shards, producer, holder=settings.pod, name=settings.service, topics=[SCORE_UPDATES]
    )
    reader = PartitionReader(access, [SCORE_UPDATES, USER_ACTIONS], settings.pod)
    board = Board(shards, reader)
    service = ScoreService(shards, cache, board, rules.get, relay.wake)
    gate = SessionGate(cache, row_check(shards))
    add_checks(health, shards, cache, board)
    async with contextlib.AsyncExitStack() as stack:
        for part in (shards, cache, producer, relay, board):
            stack.push_async_callback(part.close)
            await part.start()
        stack.push_async_callback(service.close)
        background(
            stack,
            service.publish_pages,
            service.expire_keys,
            functools.partial(system_events.announce_start, producer, settings),
        )
        yield ScoreResources(
            service=service,
            authenticator=Authenticator(tokens.TokenVerifier(keys), gate, master_key=master.get),
            master_key=master.get,
        )
