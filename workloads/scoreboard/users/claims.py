"""Usernames and e-mail addresses are unique across shards: the claims protocol.

A name is claimed by a row in identity_claims on the shard of the name's own bucket, where the
primary key makes it unique. Registration: claim the username, claim the address, insert the user
on the user's shard, confirm both claims. Each step is one commit on one shard, so a process may
die between any two:

* before the user's row: the claims stay unconfirmed and nobody has the name. After a minute they
  may be taken over by another registration or removed by the sweeper.
* after the user's row: the claims are only unconfirmed; whoever meets them (a login, another
  registration, the sweeper) finds the user and confirms.

The danger is a registration that was merely slow: its claims are taken over, then its user row
arrives, and two users have one name. Clocks cannot rule that out (a commit may wait for a standby
for any time), so taking over first *fences* the old user id on that user's shard: under an
advisory lock that the insert of the user takes as well, a fence row is committed if and only if
the user row is absent; the insert of the user refuses when it finds the fence.

Every abandoned registration so leaves a fence behind: a row `!<user id>` in identity_claims, on
the user's shard, which cannot go with the claim, since it is there for an insert yet to come. That
insert can come from its registration alone, which ends within seconds unless its process stood
still; after FENCE_DAYS no connection of such a process is open any more. Then the fence is swept.
"""

import asyncio
import enum
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import structlog

from scoreboard.kit.identity import ClaimKind, bucket_of, bucket_of_claim, claim_value
from scoreboard.kit.problems import PEER_ERRORS, Problem
from scoreboard.kit.shards import Shard, Shards
from scoreboard.users import sql

ORPHAN_SECONDS: Final = 60.0
"""Age from which an unconfirmed claim without a user may be taken over."""
WAIT_SECONDS: Final = 2.0
"""How long a registration waits for another one that holds the name unconfirmed."""
POLL_SECONDS: Final = 0.05
SWEEP_BATCH: Final = 100
FENCE_DAYS: Final = 30
FENCE_BATCH: Final = 1000

log = structlog.get_logger("scoreboard.users.claims")


@dataclass(frozen=True)
class Claim:
    """A claim's row; `age` in seconds by the claim shard's clock."""

    user_id: UUID
    confirmed: bool
    claimed_at: datetime
    age: float


class Standing(enum.Enum):
    """Where a newcomer stands before an existing claim."""

    OURS = "ours"
    TAKEN = "taken"
    ASK_USER = "ask-user"
    """Unconfirmed: it depends on whether the claiming user exists."""


class Next(enum.Enum):
    """What to do about an unconfirmed claim of somebody else."""

    CONFIRM = "confirm"
    WAIT = "wait"
    TAKE_OVER = "take-over"


def standing(claim: Claim, user_id: UUID) -> Standing:
    """Judge a claim by its row alone (pure)."""
    if claim.user_id == user_id:
        return Standing.OURS
    return Standing.TAKEN if claim.confirmed else Standing.ASK_USER


def next_step(age: float, user_exists: bool) -> Next:
    """Decide on an unconfirmed claim (pure). A user that exists keeps the name at any age."""
    if user_exists:
        return Next.CONFIRM
    return Next.TAKE_OVER if age >= ORPHAN_SECONDS else Next.WAIT


def lock_key(user_id: UUID) -> int:
    """Return the advisory lock of a user id, a signed 64-bit number."""
    return int.from_bytes(user_id.bytes[:8], "big", signed=True)


def fence_value(user_id: UUID) -> str:
    """Return the claim value that fences a user id; no username can have this form."""
    return "!" + user_id.hex


def deleted(status: str) -> int:
    """Return the number of rows from the status of a DELETE, such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])


async def enter_user(connection: Any, user_id: UUID) -> bool:
    """Open the way for inserting a user, in the caller's transaction: lock, look for a fence.

    Returns False when the id was fenced and must not be inserted any more.
    """
    await connection.execute("select pg_advisory_xact_lock($1)", lock_key(user_id))
    fenced = await connection.fetchval(
        "select exists (select from identity_claims where kind = 'username' and value = $1)",
        fence_value(user_id),
    )
    return not fenced


class Claims:
    """Claims on all shards. Methods raise ShardUnavailable when a shard they need is away."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards

    async def find(self, kind: ClaimKind, value: str) -> Claim | None:
        """Return the claim on a name, confirmed or not."""

        async def work(connection: Any) -> Claim | None:
            return await _read(connection, kind, value)

        return await self._home(kind, value).run(work, idempotent=True)

    async def reserve(self, kind: ClaimKind, value: str, user_id: UUID) -> None:
        """Claim a name for a user that is about to be inserted.

        Raises Problem username-taken or email-taken, or unavailable when another registration
        holds the name and neither finished nor gave up while we waited.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + WAIT_SECONDS
        while True:
            claim = await self._insert(kind, value, user_id)
            if claim is None:
                continue  # removed between insert and read: try again at once
            where = standing(claim, user_id)
            if where is Standing.OURS:
                return
            if where is Standing.TAKEN:
                raise taken(kind)
            step = next_step(claim.age, await self.user_exists(claim.user_id))
            if step is Next.CONFIRM:
                await self.confirm(kind, value, claim.user_id)
                raise taken(kind)
            if step is Next.TAKE_OVER:
                if await self.fence(claim.user_id) and await self._take_over(
                    kind, value, claim, user_id
                ):
                    log.info("orphaned claim taken over", kind=kind)
                    return
                continue
            if loop.time() >= ends:
                raise Problem(
                    "unavailable",
                    f"Another registration with this {_NOUN[kind]} has not finished.",
                    retry_after=ORPHAN_SECONDS - claim.age,
                )
            await asyncio.sleep(POLL_SECONDS)

    async def confirm(self, kind: ClaimKind, value: str, user_id: UUID) -> None:
        """Confirm a claim whose user exists."""

        async def work(connection: Any) -> None:
            await connection.execute(
                "update identity_claims set confirmed = true"
                " where kind = $1 and value = $2 and user_id = $3 and not confirmed",
                kind,
                claim_value(value),
                user_id,
            )

        await self._home(kind, value).run(work, idempotent=True)

    async def release(self, kind: ClaimKind, value: str, user_id: UUID) -> None:
        """Remove an unconfirmed claim of a user that is fenced or was never to be inserted."""

        async def work(connection: Any) -> None:
            await connection.execute(
                "delete from identity_claims"
                " where kind = $1 and value = $2 and user_id = $3 and not confirmed",
                kind,
                claim_value(value),
                user_id,
            )

        await self._home(kind, value).run(work, idempotent=True)

    async def user_exists(self, user_id: UUID) -> bool:
        """Tell whether a user's row is committed."""

        async def work(connection: Any) -> bool:
            return bool(
                await connection.fetchval(
                    "select exists (select from users where id = $1)", user_id
                )
            )

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def fence(self, user_id: UUID) -> bool:
        """Make sure that a user id is never inserted; False when the user exists already.

        Waits for an insert of that user which is under way, whatever becomes of it.
        """

        async def work(connection: Any) -> bool:
            async with connection.transaction():
                await connection.execute("select pg_advisory_xact_lock($1)", lock_key(user_id))
                # A statement of its own after the lock: its snapshot sees what was committed.
                if await connection.fetchval(
                    "select exists (select from users where id = $1)", user_id
                ):
                    return False
                await connection.execute(
                    "insert into identity_claims (kind, value, bucket, user_id, confirmed)"
                    " values ('username', $1, $2, $3, true) on conflict do nothing",
                    fence_value(user_id),
                    bucket_of(user_id),
                    user_id,
                )
                return True

        return await self._shards.for_user(user_id).run(work, idempotent=True)

    async def sweep(self, shard: Shard) -> int:
        """Repair the orphaned claims that live on a shard; return how many were dealt with."""

        async def work(connection: Any) -> list[Any]:
            found: list[Any] = await connection.fetch(
                "select kind, value, user_id from identity_claims where not confirmed"
                " and claimed_at < now() - $1 * interval '1 second'"
                " order by claimed_at limit $2",
                ORPHAN_SECONDS,
                SWEEP_BATCH,
            )
            return found

        rows = await shard.run(work, idempotent=True)
        done = 0
        for row in rows:
            try:
                await self.repair(row["kind"], row["value"], row["user_id"])
            except PEER_ERRORS as error:
                # The user's shard is away; the others' orphans need not wait for it.
                log.warning("claim not repaired", kind=row["kind"], error=type(error).__name__)
                continue
            done += 1
        return done

    async def sweep_fences(self, shard: Shard) -> int:
        """Delete fences that nothing can run into any more, some at a time; return how many."""

        async def work(connection: Any) -> int:
            return deleted(await connection.execute(sql.SWEEP_FENCES, FENCE_DAYS, FENCE_BATCH))

        return await shard.run(work, idempotent=True)

    async def repair(self, kind: ClaimKind, value: str, user_id: UUID) -> None:
        """Confirm an old unconfirmed claim when its user exists, else fence and remove it."""
        if await self.user_exists(user_id) or not await self.fence(user_id):
            await self.confirm(kind, value, user_id)
            log.info("claim confirmed late", kind=kind)
        else:
            await self.release(kind, value, user_id)
            log.info("orphaned claim removed", kind=kind)

    def _home(self, kind: ClaimKind, value: str) -> Shard:
        return self._shards.for_bucket(bucket_of_claim(kind, value))

    async def _insert(self, kind: ClaimKind, value: str, user_id: UUID) -> Claim | None:
        async def work(connection: Any) -> Claim | None:
            await connection.execute(
                "insert into identity_claims (kind, value, bucket, user_id)"
                " values ($1, $2, $3, $4) on conflict do nothing",
                kind,
                claim_value(value),
                bucket_of_claim(kind, value),
                user_id,
            )
            return await _read(connection, kind, value)

        return await self._home(kind, value).run(work, idempotent=True)

    async def _take_over(self, kind: ClaimKind, value: str, old: Claim, user_id: UUID) -> bool:
        async def work(connection: Any) -> bool:
            status = await connection.execute(
                "update identity_claims set user_id = $4, claimed_at = now()"
                " where kind = $1 and value = $2 and user_id = $3 and not confirmed",
                kind,
                claim_value(value),
                old.user_id,
                user_id,
            )
            return str(status) == "UPDATE 1"

        # A lost answer makes a second try find nothing; the caller's loop then sees it is ours.
        return await self._home(kind, value).run(work, idempotent=True)


_NOUN: Final[dict[ClaimKind, str]] = {"username": "username", "email": "e-mail address"}


def taken(kind: ClaimKind) -> Problem:
    """Return the problem of a name that somebody has."""
    return Problem("username-taken" if kind == "username" else "email-taken")


async def _read(connection: Any, kind: ClaimKind, value: str) -> Claim | None:
    row = await connection.fetchrow(
        "select user_id, confirmed, claimed_at,"
        " extract(epoch from clock_timestamp() - claimed_at)::float8 as age"
        " from identity_claims where kind = $1 and value = $2",
        kind,
        claim_value(value),
    )
    return None if row is None else Claim(**dict(row))
