"""Connections to the members of one shard: TLS, finding the primary, telling errors apart.

The `-primary` Service is asked first, because it is right nearly always. It can lag behind a
failover by seconds (Patroni relabels only its own pod), so whoever answers is asked whether it
is in recovery, and when the Service is of no use every member is asked at the same time.
"""

import asyncio
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import asyncpg
import structlog

from scoreboard.kit.settings import WatchedFile
from scoreboard.kit.shard_map import Address

log = structlog.get_logger("scoreboard.postgres")

CONNECT_SECONDS: Final = 2.0
HEAD_START_SECONDS: Final = 0.5
"""How long the Service may take before the members are asked as well."""
SETTLE_SECONDS: Final = 0.15
"""How long to wait, after one member said it leads, for another with a newer timeline."""
TCP_USER_TIMEOUT_MS: Final = 6_000
"""Unacknowledged data on a dead node's connection breaks it after this long."""


class Outcome(Enum):
    """What a failed attempt means for the caller."""

    NOT_APPLIED = "the server surely did nothing; trying again is safe"
    UNKNOWN = "the connection ended; the transaction may or may not have been committed"
    FINAL = "the server refused; trying again changes nothing"


_NOT_APPLIED_STATES: Final = frozenset(
    {
        "25006",  # read-only: this member is no primary any more
        "40001",  # serialization failure
        "40P01",  # deadlock
        "55P03",  # lock not available
        "57P03",  # cannot connect now
        "53300",  # too many connections
    }
)
_UNKNOWN_STATES: Final = frozenset({"57P01", "57P02", "57P05"})  # the session was ended


def classify(error: BaseException) -> Outcome:
    """Tell what a failed statement or transaction did (pure)."""
    if isinstance(error, asyncpg.PostgresError):
        state = str(error.sqlstate or "")
        if state in _NOT_APPLIED_STATES:
            return Outcome.NOT_APPLIED
        if isinstance(
            error, (asyncpg.InvalidCachedStatementError, asyncpg.OutdatedSchemaCacheError)
        ):
            return Outcome.NOT_APPLIED  # a migration ran; the next attempt prepares anew
        if state in _UNKNOWN_STATES or state.startswith("08"):
            return Outcome.UNKNOWN
        return Outcome.FINAL
    if isinstance(
        error, (OSError, TimeoutError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    ):
        return Outcome.UNKNOWN
    return Outcome.FINAL


def is_stale_primary(error: BaseException) -> bool:
    """Say whether the error means that the connection's server no longer leads."""
    return isinstance(error, asyncpg.ReadOnlySQLTransactionError)


def tls_context(raw: bytes) -> ssl.SSLContext:
    """Return a verify-full context that trusts the CA certificates (PEM) in `raw`."""
    return ssl.create_default_context(cadata=raw.decode())


@dataclass
class Login:
    """How to log in to any member: role, password and CA, both files that may rotate."""

    role: str
    password: WatchedFile[str] | None
    ca: WatchedFile[ssl.SSLContext] | None
    application: str

    async def connect(self, address: Address, database: str, **options: Any) -> Any:
        """Open a connection. Raises OSError, TimeoutError, SettingsError or PostgresError."""
        connection = await asyncpg.connect(
            host=address[0],
            port=address[1],
            database=database,
            user=self.role,
            password=self.password.get() if self.password else None,
            ssl=self.ca.get() if self.ca else False,
            timeout=CONNECT_SECONDS,
            server_settings={
                "application_name": self.application,
                # A client that died in a transaction must not hold its row locks for long.
                "idle_in_transaction_session_timeout": "10000",
                "timezone": "UTC",
            },
            **options,
        )
        _bound_dead_peers(connection)
        return connection


def _bound_dead_peers(connection: Any) -> None:
    """Make the kernel give up a peer that vanished without closing."""
    transport = getattr(connection, "_transport", None)
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or not hasattr(socket, "TCP_USER_TIMEOUT"):
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
    except OSError:
        pass  # a Unix socket in a developer's set-up has none of these


async def _role_of(connection: Any) -> tuple[bool, int]:
    """Return (is in recovery, timeline); the timeline of a standby is not looked at (0)."""
    row = await connection.fetchrow(
        "SELECT pg_is_in_recovery() AS standby, CASE WHEN pg_is_in_recovery() THEN NULL"
        " ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline",
        timeout=CONNECT_SECONDS,
    )
    return bool(row["standby"]), int(row["timeline"], 16) if row["timeline"] else 0


async def connect_wanted(
    login: Login, address: Address, database: str, standby: bool, options: dict[str, Any]
) -> tuple[int, Any] | None:
    """Connect and keep the connection if the server has the wanted role.

    Returns (timeline, connection), or None when it has not or cannot be reached.
    """
    connection = None
    try:
        connection = await login.connect(address, database, **options)
        is_standby, timeline = await _role_of(connection)
        if is_standby == standby:
            kept, connection = connection, None
            return timeline, kept
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        log.debug("member not reached", member=address[0], error=repr(error))
    finally:
        if connection is not None:
            connection.terminate()
    return None


async def find(
    login: Login,
    first: Address | None,
    members: Sequence[Address],
    database: str,
    standby: bool,
    options: dict[str, Any],
) -> tuple[Address, Any]:
    """Return the address of, and a connection to, a server with the wanted role.

    `first` gets a head start; then all members are asked in parallel. Among several that say
    they lead, the newest timeline wins: an isolated old primary may still believe it leads.
    Raises ConnectionError when none is found within the connect timeout.
    """
    tasks: dict[asyncio.Task[tuple[int, Any] | None], Address] = {}

    def ask(address: Address) -> None:
        task = asyncio.ensure_future(connect_wanted(login, address, database, standby, options))
        tasks[task] = address

    winner: tuple[int, Address, Any] | None = None
    try:
        if first is not None:
            ask(first)
            await asyncio.wait(tasks, timeout=HEAD_START_SECONDS)
        if not any(task.done() and task.result() for task in tasks):
            for address in members:
                ask(address)
        pending = set(tasks)
        wait_for = CONNECT_SECONDS * 2
        while pending:
            done, pending = await asyncio.wait(
                pending, timeout=wait_for, return_when=asyncio.FIRST_COMPLETED
            )
            if not done:
                break
            for task in done:
                answer = task.result()
                if answer is None:
                    continue
                if winner is None or answer[0] > winner[0]:
                    if winner is not None:
                        winner[2].terminate()
                    winner = (answer[0], tasks[task], answer[1])
                else:
                    answer[1].terminate()
            if winner is not None:
                if standby:
                    break
                wait_for = SETTLE_SECONDS
        if winner is None:
            wanted = "standby" if standby else "primary"
            raise ConnectionError(f"no {wanted} answers among {len(members)} members")
        return winner[1], winner[2]
    except BaseException:
        if winner is not None:
            winner[2].terminate()
        raise
    finally:
        for task in tasks:
            if not task.done():
                task.cancel()
            task.add_done_callback(_discard_late(winner[2] if winner else None))


def _discard_late(kept: Any) -> Any:
    """Return a callback that ends the connection of a probe that was not chosen."""

    def discard(task: "asyncio.Task[tuple[int, Any] | None]") -> None:
        if task.cancelled() or task.exception() is not None:
            return
        answer = task.result()
        if answer is not None and answer[1] is not kept:
            answer[1].terminate()

    return discard
