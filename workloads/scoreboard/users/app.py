"""Wires the user service: files, pools, cache, Kafka and background tasks into one application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from fastapi import FastAPI

from scoreboard.kit import serve, signing, system_events, tokens
from scoreboard.kit.authn import Authenticator
from scoreboard.kit.cache import Cache
from scoreboard.kit.health import Health
from scoreboard.kit.kafka import KafkaAccess, Producer
from scoreboard.kit.outbox import OutboxRelay
from scoreboard.kit.sessions import SessionGate, row_check
from scoreboard.kit.settings import Settings, WatchedFile
from scoreboard.kit.shards import Shards
from scoreboard.users import events, upkeep
from scoreboard.users.claims import Claims
from scoreboard.users.endpoints import router
from scoreboard.users.passwords import Passwords
from scoreboard.users.repository import Repository
from scoreboard.users.service import DEFAULT_SESSION_LIMIT, UserService
from scoreboard.users.throttle import Throttle

REPAIR_SECONDS: Final = 20.0
SWEEP_SECONDS: Final = 600.0
SPREAD_SECONDS: Final = 1.0


@dataclass(frozen=True)
class UserResources:
    """What endpoints reach through `app.state.resources`."""

    service: UserService
    authenticator: Authenticator
    keys: WatchedFile[tokens.KeySet]
    master_key: Callable[[], bytes]


def create_app(settings: Settings, health: Health) -> FastAPI:
    """Return the user service's application."""
    return serve.create_app(
        settings, health, routers=[router], resources=resources, title="Scoreboard user service"
    )


@contextlib.asynccontextmanager
async def resources(settings: Settings, health: Health) -> AsyncIterator[UserResources]:
    """Open what the service needs. Only the key files and the shard map must be there; a shard,
    Redis or Kafka that is away degrades the service and does not keep it from starting.

    Raises SettingsError when a file is missing.
    """
    keys = settings.file("jwt/jwks-private.json", _signing_keys)
    master = settings.file("request-signing/master-key", signing.parse_master_key)
    keys.get(), master.get()
    shards = Shards.from_settings(settings, pool_size=int(settings.number("DB_POOL_SIZE", 4)))
    cache = Cache.from_settings(settings)
    producer = Producer(KafkaAccess.from_settings(settings), settings.pod)
    relay = OutboxRelay(
        shards, producer, holder=settings.pod, name=settings.service, topics=[events.TOPIC]
    )
    passwords = Passwords(int(settings.number("PASSWORD_WORKERS", 0)) or None)
    gate = SessionGate(cache, row_check(shards))
    claims = Claims(shards)

    def committed(user_id: UUID) -> None:
        relay.wake(shards.for_user(user_id).index)

    repository = Repository(shards)
    service = UserService(
        repository=repository,
        claims=claims,
        passwords=passwords,
        throttles=Throttle(cache),
        gate=gate,
        keys=keys,
        master_key=master.get,
        session_limit=int(settings.number("SESSION_LIMIT", DEFAULT_SESSION_LIMIT)),
        committed=committed,
    )
    _add_checks(health, shards, cache)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(passwords.close)
        for part in (shards, cache, producer, relay):
            stack.push_async_callback(part.close)
            await part.start()
        tasks = [
            *_upkeep(shards, claims, repository, service),
            asyncio.create_task(system_events.announce_start(producer, settings)),
        ]
        stack.push_async_callback(_cancel, tasks)
        yield UserResources(
            service=service,
            authenticator=Authenticator(tokens.TokenVerifier(keys), gate, master_key=master.get),
            keys=keys,
            master_key=master.get,
        )


def _signing_keys(raw: bytes) -> tokens.KeySet:
    keys = tokens.parse_jwks(raw)
    if keys.signer is None:
        raise ValueError("no private key")
    return keys


def _add_checks(health: Health, shards: Shards, cache: Cache) -> None:
    def shards_up() -> str | None:
        down = [str(shard.index) for shard in shards.all() if shard.state() == "down"]
        return "shards away: " + ", ".join(down) if down else None

    def cache_up() -> str | None:
        return "not reached" if cache.state() == "down" else None

    health.add_check("database", shards_up, required=False)
    health.add_check("cache", cache_up, required=False)


def _upkeep(
    shards: Shards, claims: Claims, repository: Repository, service: UserService
) -> list[asyncio.Task[None]]:
    sweeps = [
        (REPAIR_SECONDS, "orphaned claims", claims.sweep),
        (SWEEP_SECONDS, "old fences", claims.sweep_fences),
        (SWEEP_SECONDS, "ended sessions", repository.sweep_sessions),
    ]
    return [
        asyncio.create_task(upkeep.every(SPREAD_SECONDS, "revocations", service.spread_again)),
        *(
            asyncio.create_task(upkeep.every(seconds, name, upkeep.on_each(shards, name, work)))
            for seconds, name, work in sweeps
        ),
    ]


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
