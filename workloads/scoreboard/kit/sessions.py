"""Is this session revoked? Asked on every authenticated request of every service.

Three layers, fastest first: a local cache of one second, Redis, the session's row on the user's
shard. The row is the truth. Markers in Redis under `sb:session:{user}:{session}` are written so
that they can only err towards asking again:

* "revoked" is set after the revocation committed and lives as long as an access token can;
* "active" is set only where no marker exists (NX), so a reader that saw the row before the
  commit cannot write over "revoked"; and it lives only ACTIVE_SECONDS, which bounds the harm
  when Redis is down exactly while a session is being revoked.

Only a revocation is final. That a row is missing or expired may change (a restored shard, a
bucket on its way to another shard), so it is remembered no longer than a good answer.
"""

import enum
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol
from uuid import UUID

from scoreboard.kit.problems import Problem
from scoreboard.kit.shards import Shards
from scoreboard.kit.tokens import LIFETIME_SECONDS

LOCAL_SECONDS: Final = 1.0
ACTIVE_SECONDS: Final = 30
REMEMBER: Final = 50_000
ACTIVE: Final = b"active"
REVOKED: Final = b"revoked"


class MarkerStore(Protocol):
    """The part of `kit.cache.Cache` that markers need; it never raises."""

    async def get(self, key: str) -> bytes | None: ...

    async def set(self, key: str, value: bytes, ttl: int) -> bool: ...

    async def add(self, key: str, value: bytes, ttl: int) -> bool | None: ...


class Standing(enum.Enum):
    """What is known of a session."""

    ACTIVE = "active"
    REVOKED = "revoked"
    ABSENT = "absent"
    """Its row is missing or has expired."""


RowCheck = Callable[[UUID, UUID], Awaitable[Standing]]
"""(user id, session id) -> what the session's row says."""


def row_check(shards: Shards) -> RowCheck:
    """Return the check of a session's row, on the primary: a replica may not know of a
    revocation yet. Raises ShardUnavailable when the shard is away."""

    async def standing(user_id: UUID, session_id: UUID) -> Standing:
        async def work(connection: Any) -> Standing:
            row = await connection.fetchrow(
                "select revoked_at is not null as revoked, expires_at > now() as live"
                " from sessions where id = $1 and user_id = $2",
                session_id,
                user_id,
            )
            if row is None:
                return Standing.ABSENT
            if row["revoked"]:
                return Standing.REVOKED
            return Standing.ACTIVE if row["live"] else Standing.ABSENT

        return await shards.for_user(user_id).run(work, deadline=2.0, idempotent=True)

    return standing


def marker_key(user_id: UUID, session_id: UUID) -> str:
    """Return the Redis key of a session's marker; one user's markers share a hash slot."""
    return f"sb:session:{{{user_id}}}:{session_id}"


class SessionGate:
    """Answers whether a session may still be used, and records revocations for everyone."""

    def __init__(
        self,
        markers: MarkerStore,
        row: RowCheck,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._markers = markers
        self._row = row
        self._clock = clock
        self._local: OrderedDict[UUID, tuple[float, Standing]] = OrderedDict()

    async def require_active(self, user_id: UUID, session_id: UUID) -> None:
        """Return when the session is in force.

        Raises Problem session-revoked otherwise, and whatever the database raises when
        neither Redis nor the row could be asked: an unknown session is never let in.
        """
        now = self._clock()
        known = self._local.get(session_id)
        if known is not None and (known[1] is Standing.REVOKED or now - known[0] < LOCAL_SECONDS):
            found = known[1]
        else:
            found = await self._ask(user_id, session_id)
            self._remember(session_id, now, found)
        if found is not Standing.ACTIVE:
            raise Problem("session-revoked")

    async def mark_active(self, user_id: UUID, session_id: UUID) -> None:
        """Spare the first request of a new session the look-up of its row."""
        await self._markers.add(marker_key(user_id, session_id), ACTIVE, ACTIVE_SECONDS)

    async def mark_revoked(self, user_id: UUID, session_id: UUID) -> bool:
        """Make a committed revocation known to every service.

        Returns False when Redis could not be told; services then notice within
        ACTIVE_SECONDS + LOCAL_SECONDS, and the caller should try again.
        """
        self._remember(session_id, self._clock(), Standing.REVOKED)
        return await self._markers.set(marker_key(user_id, session_id), REVOKED, LIFETIME_SECONDS)

    async def _ask(self, user_id: UUID, session_id: UUID) -> Standing:
        marker = await self._markers.get(marker_key(user_id, session_id))
        if marker is not None:
            return Standing.ACTIVE if marker == ACTIVE else Standing.REVOKED
        found = await self._row(user_id, session_id)
        if found is Standing.ACTIVE:
            await self.mark_active(user_id, session_id)
        # A row that is missing or spent gets no marker: forged ids must not fill Redis.
        return found

    def _remember(self, session_id: UUID, now: float, found: Standing) -> None:
        self._local[session_id] = (now, found)
        self._local.move_to_end(session_id)
        if len(self._local) > REMEMBER:
            self._local.popitem(last=False)
