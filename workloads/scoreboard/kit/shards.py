"""Access to the shards: which shard a user is on, and running work on its primary or a replica.

`Shards` watches the shard map and keeps a `Shard` per entry. `Shard.run` gives a function a
connection to the primary and tries again, within a deadline, what is safe to try again.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import structlog

from scoreboard.kit import postgres
from scoreboard.kit.identity import bucket_of
from scoreboard.kit.postgres import Login, Outcome
from scoreboard.kit.settings import Settings, WatchedFile
from scoreboard.kit.shard_map import Address, ShardEntry, ShardMap

T = TypeVar("T")
Work = Callable[[Any], Awaitable[T]]
"""Work on a connection. It may be called again, so it must not keep state of its own."""

log = structlog.get_logger("scoreboard.shards")

FIRST_PAUSE_SECONDS: Final = 0.05
LONGEST_PAUSE_SECONDS: Final = 0.5
ATTEMPT_SECONDS: Final = 8.0
"""Longest single attempt; a statement that waits for a dead standby ends here."""
IDLE_SECONDS: Final = 300.0


class ShardUnavailable(ConnectionError):  # noqa: N818  a state of the world, not a bug
    """A shard did not take the work within the deadline; nothing or everything was applied.

    `applied_unknown` says that a commit may have happened whose answer was lost.
    """

    def __init__(self, index: int, cause: BaseException | None, applied_unknown: bool) -> None:
        super().__init__(f"shard {index} is not available: {cause!r}")
        self.index = index
        self.applied_unknown = applied_unknown


class _Busy(TimeoutError):  # noqa: N818  a state of the world, not a bug
    """Every connection stayed in use for as long as the caller could wait.

    It says nothing about the server, so nothing is done about the connections.
    """


class _Pool:
    """Connections to the one server of a shard that has the wanted role."""

    def __init__(self, entry: ShardEntry, login: Login, size: int, *, standby: bool) -> None:
        self._entry = entry
        self._login = login
        self._standby = standby
        self._found: Address | None = None
        self._pool = asyncpg.create_pool(
            min_size=0,
            max_size=size,
            max_inactive_connection_lifetime=IDLE_SECONDS,
            connect=self._connect,
            reset=_no_reset,
        )
        self._ready = False
        # Waited for apart from asyncpg's own queue: there, waiting for others and connecting to a
        # lost server end in the same timeout.
        self._slots = asyncio.Semaphore(size)
        self._lent: set[Any] = set()

    async def _connect(self, *_: Any, **options: Any) -> Any:
        first = self._found or (self._entry.replicas if self._standby else self._entry.primary)
        members = [member.address for member in self._entry.members]
        self._found, connection = await postgres.find(
            self._login, first, members, self._entry.database, self._standby, options
        )
        return connection

    async def acquire(self, timeout: float) -> Any:
        """Return a connection; nothing was sent yet.

        Raises _Busy when none came free in time, else what `postgres.classify` knows.
        """
        had_to_wait = self._slots.locked()
        try:
            async with asyncio.timeout(timeout):
                await self._slots.acquire()
                try:
                    if not self._ready:
                        await self._pool
                        self._ready = True
                    connection = await self._pool.acquire()
                except BaseException:
                    self._slots.release()
                    raise
        except TimeoutError as error:
            if had_to_wait:  # even if connecting began then: it had too little time to tell
                raise _Busy("every connection is in use") from error
            raise
        self._lent.add(connection)
        return connection

    async def release(self, connection: Any) -> None:
        """Give a connection back, once or more often; a broken one is dropped."""
        try:
            with contextlib.suppress(
                OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError
            ):
                await self._pool.release(connection, timeout=1.0)
        finally:
            if connection in self._lent:
                self._lent.remove(connection)
                self._slots.release()

    def suspect(self) -> None:
        """Look for the server anew and replace every open connection before its next use."""
        self._found = None
        if self._ready:
            # What asyncpg's expire_connections does, which is a coroutine only in form.
            self._pool._generation += 1

    async def close(self) -> None:
        if not self._ready:
            return
        try:
            async with asyncio.timeout(2.0):
                await self._pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._pool.terminate()


async def _no_reset(_: Any) -> None:
    """Skip RESET ALL: no code of ours changes session state, and it costs a round trip."""


class Shard:
    """One shard. `run` works on the primary, `read` on a replica."""

    def __init__(self, entry: ShardEntry, login: Login, pool_size: int) -> None:
        self.entry = entry
        self.index = entry.index
        self._primary = _Pool(entry, login, pool_size, standby=False)
        self._replica = _Pool(entry, login, max(2, pool_size // 2), standby=True)
        self._up: bool | None = None

    def state(self) -> str:
        """Return up, down, or unknown before the first use; from the last attempt."""
        return {True: "up", False: "down", None: "unknown"}[self._up]

    async def run(self, work: Work[T], *, deadline: float = 5.0, idempotent: bool = False) -> T:
        """Run `work(connection)` on the primary and return its result.

        Tried again for up to `deadline` seconds when the primary cannot be reached or surely did
        nothing; when an answer was lost on the way, only with `idempotent`. Raises
        ShardUnavailable at the deadline, or what the server refused the work with.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + deadline
        pause = FIRST_PAUSE_SECONDS
        cause: BaseException | None = None
        unknown = False
        while (left := ends - loop.time()) > 0:
            connection = None
            outcome = Outcome.NOT_APPLIED
            try:
                connection = await self._primary.acquire(left)
                async with asyncio.timeout(min(ATTEMPT_SECONDS, ends - loop.time())):
                    result = await work(connection)
                await self._primary.release(connection)
                self._up = True
                return result
            except _Busy as error:
                raise ShardUnavailable(self.index, error, unknown) from error
            except Exception as error:
                if connection is None:
                    # Not reached: whatever it was, the work has not started.
                    if postgres.classify(error) is Outcome.FINAL and not _is_login(error):
                        raise
                    self._primary.suspect()
                else:
                    outcome = await self._give_back(connection, error)
                    if outcome is Outcome.FINAL:
                        raise
                cause = error
                unknown = unknown or outcome is Outcome.UNKNOWN
                if outcome is Outcome.UNKNOWN and not idempotent:
                    break
            except BaseException:  # cancelled: the server must not go on working for nobody
                if connection is not None:
                    connection.terminate()
                    await self._primary.release(connection)
                raise
            await asyncio.sleep(min(pause * random.uniform(0.5, 1.0), max(0, ends - loop.time())))  # noqa: S311
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
        self._up = False
        raise ShardUnavailable(self.index, cause, unknown)

    async def _give_back(self, connection: Any, error: Exception) -> Outcome:
        """Return the connection after a failure and say what the failure did."""
        outcome = postgres.classify(error)
        if _is_lost(error):
            # Closing politely would wait for a peer that may be gone.
            connection.terminate()
            self._primary.suspect()
        elif connection.is_in_transaction():
            connection.terminate()
        await self._primary.release(connection)
        return outcome

    @contextlib.asynccontextmanager
    async def hold(self, timeout: float = 5.0) -> AsyncIterator[Any]:
        """Lend a connection to the primary for as long as the caller needs it (listeners).

        Raises what connecting raises. After an exception inside, the connection is dropped.
        """
        try:
            connection = await self._primary.acquire(timeout)
        except _Busy:
            raise
        except Exception:
            self._primary.suspect()
            raise
        try:
            yield connection
        except BaseException as error:
            connection.terminate()
            if _is_lost(error):
                self._primary.suspect()
            raise
        finally:
            await self._primary.release(connection)

    async def read(self, work: Work[T], *, deadline: float = 2.0) -> T:
        """Run a read on a replica, or on the primary when no replica answers.

        The result may lag behind the primary. Raises as `run` does.
        """
        if self.entry.replicas is not None or len(self.entry.members) > 1:
            connection = None
            try:
                connection = await self._replica.acquire(deadline / 2)
                async with asyncio.timeout(deadline / 2):
                    result = await work(connection)
                await self._replica.release(connection)
                return result
            except Exception as error:
                if connection is not None:
                    connection.terminate()
                    await self._replica.release(connection)
                if postgres.classify(error) is Outcome.FINAL and not _is_login(error):
                    raise
                if not isinstance(error, _Busy):
                    self._replica.suspect()
                log.debug("read falls back to the primary", shard=self.index, error=repr(error))
            except BaseException:
                if connection is not None:
                    connection.terminate()
                    await self._replica.release(connection)
                raise
        return await self.run(work, deadline=deadline, idempotent=True)

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(self._primary.close(), self._replica.close())


def _is_lost(error: BaseException) -> bool:
    """Say whether the error means that the connection, or its server's lead, is gone."""
    return postgres.classify(error) is Outcome.UNKNOWN or postgres.is_stale_primary(error)


def _is_login(error: BaseException) -> bool:
    """Say whether the login was refused: a password is being rotated, or a Secret is late."""
    return isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, RuntimeError))


class Shards:
    """Every shard of the Scoreboard, following the shard map as it changes."""

    def __init__(
        self,
        *,
        map_file: Path,
        role: str,
        password_file: Path | None,
        ca_file: Path | None,
        application: str,
        pool_size: int = 4,
    ) -> None:
        self._map = WatchedFile(map_file, ShardMap.parse)
        self._login = Login(
            role,
            WatchedFile(password_file, lambda raw: raw.decode().strip()) if password_file else None,
            WatchedFile(ca_file, postgres.tls_context) if ca_file else None,
            application,
        )
        self._pool_size = pool_size
        self._shards: dict[int, Shard] = {}
        self._current: ShardMap | None = None
        self._closing: set[asyncio.Task[None]] = set()

    @classmethod
    def from_settings(cls, settings: Settings, *, pool_size: int = 4) -> "Shards":
        """Build from a service's settings: role `<service>_service`, files below CONFIG_DIR."""
        return cls(
            map_file=settings.config_dir / "shard-map" / "shard-map.json",
            role=f"{settings.service}_service",
            password_file=settings.config_dir / "credentials" / "database-password",
            ca_file=settings.tls_dir / "ca.crt",
            application=f"{settings.service}/{settings.pod}",
            pool_size=pool_size,
        )

    @property
    def map(self) -> ShardMap:
        """The newest shard map. Raises SettingsError before the first one is readable."""
        newest = self._map.get()
        if newest is not self._current:
            self._follow(newest)
        return newest

    def _follow(self, newest: ShardMap) -> None:
        old = self._shards
        self._shards = {}
        for entry in newest.shards:
            known = old.pop(entry.index, None)
            if known is not None and known.entry == entry:
                self._shards[entry.index] = known
                continue
            if known is not None:
                self._retire(known)
            self._shards[entry.index] = Shard(entry, self._login, self._pool_size)
        for gone in old.values():
            self._retire(gone)
        self._current = newest
        log.info("shard map", version=newest.version, shards=len(newest.shards))

    def _retire(self, shard: Shard) -> None:
        task = asyncio.ensure_future(shard.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def for_bucket(self, bucket: int) -> Shard:
        """Return the shard of a bucket in [0, 960)."""
        return self._shards_of(self.map)[self.map.shard_of_bucket(bucket)]

    def for_user(self, user_id: UUID) -> Shard:
        """Return the shard that holds a user's rows."""
        return self.for_bucket(bucket_of(user_id))

    def at(self, index: int) -> Shard | None:
        """Return the shard with an index, or None when the map has none."""
        return self._shards_of(self.map).get(index)

    def all(self) -> list[Shard]:
        """Return every shard, by index."""
        return list(self._shards_of(self.map).values())

    def _shards_of(self, _: ShardMap) -> dict[int, Shard]:
        # Reading `map` is what brings _shards up to date; this keeps the order explicit.
        return self._shards

    async def start(self) -> None:
        """Read the shard map; connections are opened when first used.

        Raises SettingsError when there is no map yet.
        """
        _ = self.map

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(shard.close() for shard in self._shards.values()), *self._closing)
