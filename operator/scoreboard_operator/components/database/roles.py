"""Are a shard's roles and passwords what the credentials Secret says?

Only the check is here. Roles are put right inside the primary's pod, through the local socket
(workloads/images/postgres/roles.py), so that the superuser is never reachable over the network.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from dataclasses import dataclass

import asyncpg

from scoreboard_operator.components.base import Board, Snapshot
from scoreboard_operator.components.database import names

KEYS = {
    "scoreboard_owner": "owner",
    "score_service": "score",
    "user_service": "user",
    "notification_service": "notification",
    "analytics": "analytics",
    "scoreboard_operator": "operator",
    "replicator": "replication",
    "rewind_user": "rewind",
}
"""Role -> first part of its password's key in NAME-db-credentials."""

RIGHT_FOR_SECONDS = 30.0
"""A good answer is believed for so long; a look costs a connection with a TLS handshake."""

_TIMEOUT_SECONDS = 3.0

_QUESTION = """
select (select pg_catalog.shobj_description(oid, 'pg_authid') from pg_catalog.pg_roles
        where rolname = 'scoreboard_operator'),
       array(select rolname::text from pg_catalog.pg_roles where rolcanlogin)
"""

# Only a memory of answers: losing it costs one more question, and it decides nothing else.
_right_until: dict[tuple[str, str], float] = {}


@dataclass(frozen=True)
class RoleState:
    """``state`` is ``right``, ``wrong`` or ``unknown`` (no answer); ``detail`` says what is."""

    state: str
    detail: str = ""


UNKNOWN = RoleState("unknown")


def password(board: Board, snapshot: Snapshot, key: str) -> str | None:
    """A password of the board's database, or None while its Secret does not exist."""
    value = snapshot.secret_value(f"{board.name}-db-credentials", f"{key}-password")
    return None if value is None else value.decode().strip()


def digest(board: Board, snapshot: Snapshot) -> str | None:
    """What the comment on the operator's role must be; None while a password is missing."""
    lines = []
    for role, key in sorted(KEYS.items()):
        value = password(board, snapshot, key)
        if value is None:
            return None
        lines.append(f"{role}:{key}:{value}")
    return "roles-v1:" + hashlib.sha256("\n".join(lines).encode()).hexdigest()


async def check(host: str, secret: str, wanted: str, trust: ssl.SSLContext) -> RoleState:
    """Ask the primary at ``host``; never raises.

    ``secret`` is the operator's own database password, ``wanted`` the digest.
    """
    key = (host, wanted)
    if _right_until.get(key, 0.0) > time.monotonic():
        return RoleState("right")
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            found = await _ask(host, secret, trust)
    except (
        asyncpg.InvalidPasswordError,
        asyncpg.InvalidAuthorizationSpecificationError,
        asyncpg.InvalidCatalogNameError,
    ) as error:
        return RoleState("wrong", str(error))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return RoleState("unknown", str(error) or type(error).__name__)
    state = judge(found[0], found[1], wanted)
    if state.state == "right":
        _right_until[key] = time.monotonic() + RIGHT_FOR_SECONDS
    return state


def judge(comment: str | None, logins: list[str], wanted: str) -> RoleState:
    """Compare what a primary answered with what is wanted (pure)."""
    missing = sorted(set(KEYS) - set(logins))
    if missing:
        return RoleState("wrong", f"missing roles: {', '.join(missing)}")
    if comment != wanted:
        return RoleState("wrong", "passwords differ from the Secret")
    return RoleState("right")


async def _ask(host: str, secret: str, trust: ssl.SSLContext) -> tuple[str | None, list[str]]:
    connection = await asyncpg.connect(
        host=host,
        port=names.POSTGRES_PORT,
        user="scoreboard_operator",
        password=secret,
        database=names.DATABASE,
        ssl=trust,
        timeout=_TIMEOUT_SECONDS,
        server_settings={"application_name": "scoreboard-operator"},
    )
    try:
        row = await connection.fetchrow(_QUESTION)
        return row[0], list(row[1])
    finally:
        connection.terminate()
