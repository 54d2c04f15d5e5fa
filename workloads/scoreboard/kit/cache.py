"""Redis Cluster as a cache: fast when it is there, and never the reason a request fails.

Every call has a short time limit and answers as on a miss when Redis cannot be reached. After a
failure the cache is left alone for a moment, so that an outage costs one time limit and not one
per request. Callers that must know the difference get None for "not reached".
"""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from scoreboard.kit import postgres
from scoreboard.kit.settings import Settings, WatchedFile, parse_nodes

T = TypeVar("T")
log = structlog.get_logger("scoreboard.cache")

CALL_SECONDS: Final = 0.25
CONNECT_SECONDS: Final = 2.0
CONCURRENT_CALLS: Final = 12
"""Calls under way at once; more wait in line. Each call under way has a connection of its own, and
a burst that opened hundreds would spend its time limit on TLS handshakes."""
FAILURES_BEFORE_RENEWAL: Final = 3
REST_SECONDS: Final = 1.0
"""How long Redis is left alone after a failed call."""

_INCREMENT: Final = (
    "local n = redis.call('INCR', KEYS[1])\n"
    "if n == 1 or redis.call('PTTL', KEYS[1]) < 0 then"
    " redis.call('PEXPIRE', KEYS[1], ARGV[1]) end\n"
    "return n"
)
"""INCR that starts its time to live with the first count, in one step: a crash between the two
commands would leave a counter that never ends."""


class _FileCredentials(CredentialProvider):
    """User name and password, read anew for each connection, so that a rotation just works."""

    def __init__(self, username: str, password: WatchedFile[str]) -> None:
        self._username = username
        self._password = password

    def get_credentials(self) -> tuple[str, str]:
        return self._username, self._password.get()

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


class Cache:
    """The shared cache. No method raises; what cannot be reached is reported as absent."""

    def __init__(
        self,
        *,
        nodes: str | Sequence[tuple[str, int]],
        username: str,
        password_file: Path | None,
        ca_file: Path | None,
        call_seconds: float = CALL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = parse_nodes("CACHE_NODES", nodes) if isinstance(nodes, str) else tuple(nodes)
        self._username = username
        self._password = (
            WatchedFile(password_file, lambda raw: raw.decode().strip()) if password_file else None
        )
        self._ca = WatchedFile(ca_file, postgres.tls_context) if ca_file else None
        self._call_seconds = call_seconds
        self._clock = clock
        self._client: Any = None
        self._connecting: asyncio.Task[None] | None = None
        self._rest_until = float("-inf")
        self._up: bool | None = None
        self._failures = 0
        self._slots = asyncio.Semaphore(CONCURRENT_CALLS)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Cache":
        """Build from a service's settings; without CACHE_NODES every call is a miss."""
        return cls(
            nodes=settings.cache_nodes,
            username=settings.service,
            password_file=settings.config_dir / "credentials" / "cache-password",
            ca_file=settings.tls_dir / "ca.crt",
        )

    @property
    def available(self) -> bool:
        """Whether the last call reached Redis."""
        return self._up is True

    def state(self) -> str:
        """Return up, down, or unknown before the first call."""
        return {True: "up", False: "down", None: "unknown"}[self._up]

    async def start(self) -> None:
        """Connect if Redis is there; a service starts without it too."""
        await self.ping()

    async def close(self) -> None:
        """Close every connection."""
        if self._connecting is not None:
            self._connecting.cancel()
        await self._drop()

    async def ping(self) -> bool:
        """Say whether Redis answers now."""
        return await self._call(lambda client: client.ping(target_nodes="random")) is not None

    async def get(self, key: str) -> bytes | None:
        """Return a value, or None when it is absent or Redis is not reached."""
        value: bytes | None = await self._call(lambda client: client.get(key))
        return value

    async def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of keys that may lie in different slots, None for each absent."""
        found = await self._call(lambda client: client.mget_nonatomic(list(keys)))
        return list(found) if found is not None else [None] * len(keys)

    async def set(self, key: str, value: bytes | str, ttl: float) -> bool:
        """Store a value for `ttl` seconds; False when Redis is not reached."""
        return await self._call(lambda c: c.set(key, value, px=_milliseconds(ttl))) is not None

    async def add(self, key: str, value: bytes | str, ttl: float) -> bool | None:
        """Store a value if the key is absent: True stored, False it exists, None not reached."""

        async def command(client: Any) -> bool:
            return bool(await client.set(key, value, px=_milliseconds(ttl), nx=True))

        return await self._call(command)

    async def incr(self, key: str, ttl: float) -> int | None:
        """Count up a counter that ends `ttl` seconds after its first count; None not reached."""
        count = await self._call(lambda c: c.eval(_INCREMENT, 1, key, _milliseconds(ttl)))
        return int(count) if count is not None else None

    async def ttl(self, key: str) -> float | None:
        """Return the seconds a key has left, or None when absent or not reached."""
        left = await self._call(lambda client: client.pttl(key))
        return left / 1000 if left is not None and left >= 0 else None

    async def delete(self, *keys: str) -> bool:
        """Delete keys, in any slots; False when Redis is not reached."""
        if not keys:
            return True
        return await self._call(lambda client: client.delete(*keys)) is not None

    async def execute(self, command: Callable[[Any], Awaitable[T]]) -> T | None:
        """Run a command of your own on the client; None when Redis is not reached."""
        return await self._call(command)

    async def _call(self, command: Callable[[Any], Awaitable[T]]) -> T | None:
        if not self._nodes or self._clock() < self._rest_until:
            return None
        try:
            async with self._slots:
                if self._clock() < self._rest_until:
                    return None  # the ones before us in the line found it away
                client = self._client
                if client is None:
                    client = await self._connect()
                async with asyncio.timeout(self._call_seconds):
                    result = await command(client)
        except Exception as error:
            # Everything, because "never the reason a request fails" is the promise: redis-py lets
            # all kinds escape (also of uvloop and of its own) while nodes come and go under it.
            self._failed(error)
            return None
        self._failures = 0
        if self._up is not True:
            log.info("cache reached")
            self._up = True
        return result

    def _failed(self, error: BaseException) -> None:
        if self._up is not False:
            log.warning("cache not reached, going on without", error=repr(error))
        self._up = False
        self._rest_until = self._clock() + REST_SECONDS
        self._failures += 1
        if self._failures >= FAILURES_BEFORE_RENEWAL:
            # redis-py mends most things itself; what it does not, a fresh client does, which
            # learns the cluster's shape from whichever node answers.
            self._failures = 0
            task = asyncio.ensure_future(self._drop())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _connect(self) -> Any:
        """Return the client, connecting at most once however many callers wait."""
        if self._connecting is None or self._connecting.done():
            self._connecting = asyncio.ensure_future(self._open())
        # Shielded: a caller that goes away must not break the connection for the others.
        async with asyncio.timeout(CONNECT_SECONDS):
            await asyncio.shield(self._connecting)
        return self._client

    async def _open(self) -> None:
        options: dict[str, Any] = {}
        if self._password is not None:
            options["credential_provider"] = _FileCredentials(self._username, self._password)
        if self._ca is not None:
            options["ssl"] = True
        client = RedisCluster(
            startup_nodes=[ClusterNode(host, port) for host, port in self._nodes],
            require_full_coverage=False,  # one lost range must not take the others with it
            cluster_error_retry_attempts=1,
            retry=Retry(NoBackoff(), 1),
            socket_timeout=self._call_seconds * 4,
            socket_connect_timeout=CONNECT_SECONDS / 2,
            **options,
        )
        if self._ca is not None:
            _use_context(client, self._ca.get())
        try:
            await client.initialize()
        except BaseException:
            await client.aclose()
            raise
        self._client = client

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()


def _use_context(client: Any, context: ssl.SSLContext) -> None:
    """Make every connection of a client use one TLS context, which trusts our CA alone.

    redis-py would build a context per connection, from every CA of the system and ours: that
    blocks the event loop for tens of milliseconds each time, and trusts whom we need not trust.
    """

    class Connection(SSLConnection):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.ssl_context.context = context

    client.nodes_manager.connection_kwargs["connection_class"] = Connection
    for node in client.nodes_manager.startup_nodes.values():
        node.connection_class = Connection


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
