"""SQL on users and sessions. Every method works on one shard, that of the user it is about.

Methods that change something are safe to run twice (the answer to a commit may get lost), and
write their events in the same transaction. All raise ShardUnavailable when the shard is away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from scoreboard.kit.identity import ClaimKind, bucket_of
from scoreboard.kit.shards import Shard, Shards
from scoreboard.users import claims, events, sql
from scoreboard.users.refresh import RefreshToken, SessionState

IDLE_DAYS: Final = 30
"""A session ends when it was not refreshed for so long."""
ABSOLUTE_DAYS: Final = 90
"""A session ends so long after its login, whatever happens."""
KEPT_DAYS: Final = 30
"""So long after its end a session's row is kept, for whoever asks what happened."""
SWEEP_ROWS: Final = 1000


@dataclass(frozen=True, repr=False)
class User:
    """A row of users. No repr: it holds the password hash."""

    id: UUID
    username: str
    email: str
    display_name: str
    country: str | None
    password_hash: str
    roles: Sequence[str]
    status: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True)
class NewUser:
    """What registration inserts."""

    id: UUID
    username: str
    email: str
    display_name: str
    country: str | None
    password_hash: str


@dataclass(frozen=True)
class Device:
    """Where a session was opened from, as far as the client tells."""

    user_agent: str | None = None
    address: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class Session:
    """A live session, for listing."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    user_agent: str | None
    ip_address: str | None
    fingerprint: str | None


class Fenced(Exception):  # noqa: N818  a verdict, not a fault
    """The registration took so long that its claims were given away."""


class Repository:
    """Users and sessions on their shards."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def user(self, user_id: UUID) -> User | None:
        """Return a user, as the primary knows it."""

        async def work(connection: Any) -> User | None:
            return _user(await connection.fetchrow(sql.SELECT_USER, user_id))

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def user_from_replica(self, user_id: UUID) -> User | None:
        """Return a user as a replica knows it, which may be a moment old."""

        async def work(connection: Any) -> User | None:
            return _user(await connection.fetchrow(sql.SELECT_USER, user_id))

        return await self._shards.for_user(user_id).read(work)

    async def add_user(self, new: NewUser) -> None:
        """Insert a user whose claims are made.

        Raises Fenced when the claims were given away meanwhile, and
        asyncpg.UniqueViolationError when the shard has the name in spite of the claims.
        """

        async def work(connection: Any) -> None:
            async with connection.transaction():
                if not await claims.enter_user(connection, new.id):
                    raise Fenced
                inserted = await connection.fetchval(
                    "insert into users (id, bucket, username, email, display_name, country,"
                    " password_hash) values ($1, $2, $3, $4, $5, $6, $7)"
                    " on conflict (id) do nothing returning true",
                    new.id,
                    bucket_of(new.id),
                    new.username,
                    new.email,
                    new.display_name,
                    new.country,
                    new.password_hash,
                )
                if inserted:
                    await events.add(
                        connection,
                        "user.registered",
                        new.id,
                        username=new.username,
                        display_name=new.display_name,
                        version=1,
                    )

        await self._shards.for_user(new.id).run(work, idempotent=True)

    async def update_profile(
        self, user_id: UUID, version: int | None, display_name: str, country: str | None
    ) -> User | None:
        """Set the editable fields; None when the version is another or the user is gone.

        `version` None means any.
        """

        async def work(connection: Any) -> User | None:
            async with connection.transaction():
                user = _user(
                    await connection.fetchrow(
                        sql.UPDATE_PROFILE,
                        user_id,
                        version,
                        display_name,
                        country,
                    )
                )
                if user is not None:
                    await events.add(
                        connection,
                        "profile.updated",
                        user_id,
                        username=user.username,
                        display_name=user.display_name,
                        version=user.version,
                    )
                return user

        # Not idempotent: a second run would meet the version the first one made.
        return await self._shards.for_user(user_id).run(work)

    async def set_password_hash(self, user_id: UUID, old: str, new: str) -> None:
        """Store the same password under newer parameters, unless it changed meanwhile."""

        async def work(connection: Any) -> None:
            await connection.execute(
                "update users set password_hash = $3 where id = $1 and password_hash = $2",
                user_id,
                old,
                new,
            )

        await self._shards.for_user(user_id).run(work, idempotent=True)

    async def open_session(self, token: RefreshToken, device: Device, limit: int) -> list[UUID]:
        """Insert a session and revoke the oldest live ones beyond `limit`; return those revoked.

        The user's row is locked meanwhile, so that parallel logins cannot pass the limit.
        """

        async def work(connection: Any) -> list[UUID]:
            async with connection.transaction():
                await connection.execute(
                    "select from users where id = $1 for no key update", token.user_id
                )
                inserted = await connection.fetchval(
                    "insert into sessions (id, user_id, bucket, refresh_hash, expires_at,"
                    " fingerprint, user_agent, ip_address)"
                    " values ($1, $2, $3, $4, now() + $5 * interval '1 day', $6, $7, $8)"
                    " on conflict (id) do nothing returning true",
                    token.session_id,
                    token.user_id,
                    bucket_of(token.user_id),
                    token.digest,
                    IDLE_DAYS,
                    device.fingerprint,
                    device.user_agent,
                    device.address,
                )
                if not inserted:
                    return []
                await events.add(
                    connection, "session.created", token.user_id, session_id=token.session_id
                )
                oldest = await connection.fetch(
                    "select id from sessions where user_id = $1 and revoked_at is null"
                    " and expires_at > now() and id <> $2"
                    " order by created_at desc, id offset $3",
                    token.user_id,
                    token.session_id,
                    limit - 1,
                )
                ids = [row["id"] for row in oldest]
                return await _revoke(connection, token.user_id, ids, "session-limit")

        return await self._shards.for_user(token.user_id).run(work, idempotent=True)

    async def rotate(
        self, old: RefreshToken, successor: RefreshToken, sealed: bytes
    ) -> User | None:
        """Replace a session's current refresh token; None when `old` is not the current one.

        Of callers racing with one token the row lock lets the first through; the others find
        the hash replaced. A second run of a rotation whose answer got lost finds the same.
        """

        async def work(connection: Any) -> User | None:
            return _user(
                await connection.fetchrow(
                    sql.ROTATE,
                    old.session_id,
                    old.user_id,
                    old.digest,
                    successor.digest,
                    sealed,
                    IDLE_DAYS,
                    ABSOLUTE_DAYS,
                )
            )

        return await self._shards.for_user(old.user_id).run(work, idempotent=True)

    async def session_state(
        self, token: RefreshToken
    ) -> tuple[SessionState, bytes | None, User] | None:
        """Return what a session's row says, its sealed successor, and its user."""

        async def work(connection: Any) -> tuple[SessionState, bytes | None, User] | None:
            row = await connection.fetchrow(
                sql.SESSION_STATE,
                token.session_id,
                token.user_id,
            )
            if row is None:
                return None
            user = _user({name: row[name] for name in User.__dataclass_fields__})
            assert user is not None
            state = SessionState(
                refresh_hash=row["refresh_hash"],
                previous_hash=row["previous_refresh_hash"],
                revoked=row["revoked"],
                expired=row["expired"],
                user_active=user.status == "active",
                rotated_ago=row["rotated_ago"],
            )
            return state, row["successor_token_enc"], user

        return await self._shards.for_user(token.user_id).run(work, idempotent=True)

    async def sessions(self, user_id: UUID) -> list[Session]:
        """Return a user's live sessions, newest first."""

        async def work(connection: Any) -> list[Session]:
            rows = await connection.fetch(
                "select id, created_at, last_seen_at, expires_at, user_agent,"
                " host(ip_address) as ip_address, fingerprint from sessions"
                " where user_id = $1 and revoked_at is null and expires_at > now()"
                " order by created_at desc, id",
                user_id,
            )
            return [Session(**dict(row)) for row in rows]

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def revoke_session(self, user_id: UUID, session_id: UUID, reason: str) -> bool:
        """Revoke a session of a user; False when the user has no such session.

        A session that is revoked already counts as revoked.
        """

        async def work(connection: Any) -> bool:
            async with connection.transaction():
                if await _revoke(connection, user_id, [session_id], reason):
                    return True
                return bool(
                    await connection.fetchval(
                        "select exists (select from sessions where id = $1 and user_id = $2)",
                        session_id,
                        user_id,
                    )
                )

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def revoke_others(self, user_id: UUID, keep: UUID, reason: str) -> list[UUID]:
        """Revoke every live session of a user but one; return those revoked."""

        async def work(connection: Any) -> list[UUID]:
            async with connection.transaction():
                rows = await connection.fetch(
                    "select id from sessions where user_id = $1 and id <> $2"
                    " and revoked_at is null and expires_at > now() order by id",
                    user_id,
                    keep,
                )
                return await _revoke(connection, user_id, [row["id"] for row in rows], reason)

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def sweep_sessions(self, shard: Shard) -> int:
        """Delete sessions of a shard that ended long ago, some at a time; return how many."""

        async def work(connection: Any) -> int:
            return claims.deleted(
                await connection.execute(sql.SWEEP_SESSIONS, KEPT_DAYS, SWEEP_ROWS)
            )

        return await shard.run(work, idempotent=True)


async def _revoke(connection: Any, user_id: UUID, ids: Sequence[UUID], reason: str) -> list[UUID]:
    """Revoke those of the sessions that are not, each with its event; return them."""
    if not ids:
        return []
    rows = await connection.fetch(
        "update sessions set revoked_at = now(), revoke_reason = $3"
        " where id = any($1::uuid[]) and user_id = $2 and revoked_at is null returning id",
        ids,
        user_id,
        reason,
    )
    for row in rows:
        await events.add(
            connection, "session.revoked", user_id, session_id=row["id"], reason=reason
        )
    return [row["id"] for row in rows]


def _user(row: Any) -> User | None:
    return None if row is None else User(**dict(row))


def violated_kind(error: asyncpg.UniqueViolationError) -> ClaimKind:
    """Return which name a unique violation on users was about."""
    return "email" if "email" in (getattr(error, "constraint_name", "") or "") else "username"
