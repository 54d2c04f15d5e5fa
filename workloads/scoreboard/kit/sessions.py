"""Is this session revoked? Asked on every authenticated request of every service.

Three layers, fastest first: a local cache of one second, Redis, the session's row on the user's
shard. The row is the truth. Markers in Redis under `sb:session:{user}:{session}` are written so
that they can only err towards asking again:

* "revoked" is set after the revocation committed and lives as long as an access token can;
* "active" is set only where no marker exists (NX), so a reader that saw the row before the
  commit cannot write over "revoked"; and it lives only ACTIVE_SECONDS, which bounds the harm
  when Redis is down exactly while a session is being revoked.
"""

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


RowCheck = Callable[[UUID, UUID], Awaitable[bool]]
"""(user id, session id) -> the session's row exists, is not revoked and has not expired."""


def row_check(shards: Shards) -> RowCheck:
    """Return the check of a session's row, on the primary: a replica may not know of a
    revocation yet. Raises ShardUnavailable when the shard is away."""

    async def is_active(user_id: UUID, session_id: UUID) -> bool:
        async def work(connection: Any) -> bool:
            return bool(
                await connection.fetchval(
                    "select exists (select from sessions where id = $1 and user_id = $2"
                    " and revoked_at is null and expires_at > now())",
                    session_id,
                    user_id,
                )
            )

        return await shards.for_user(user_id).run(work, deadline=2.0, idempotent=True)

    return is_active


def marker_key(user_id: UUID, session_id: UUID) -> str:
    """Return the Redis key of a session's marker; one user's markers share a hash slot."""
    return f"sb:session:{{{user_id}}}:{session_id}"


class SessionGate:
    """Answers whether a session may still be used, and records revocations for everyone."""

    def __init__(
        self,
        markers: MarkerStore,
        row_is_active: RowCheck,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._markers = markers
        self._row_is_active = row_is_active
        self._clock = clock
        self._local: OrderedDict[UUID, tuple[float, bool]] = OrderedDict()

    async def require_active(self, user_id: UUID, session_id: UUID) -> None:
        """Return when the session is in force.

        Raises Problem session-revoked otherwise, and whatever the database raises when
        neither Redis nor the row could be asked: an unknown session is never let in.
        """
        now = self._clock()
        known = self._local.get(session_id)
        if known is not None and (not known[1] or now - known[0] < LOCAL_SECONDS):
            active = known[1]
        else:
            active = await self._ask(user_id, session_id)
            self._remember(session_id, now, active)
        if not active:
            raise Problem("session-revoked")

    async def mark_active(self, user_id: UUID, session_id: UUID) -> None:
        """Spare the first request of a new session the look-up of its row."""
        await self._markers.add(marker_key(user_id, session_id), ACTIVE, ACTIVE_SECONDS)

    async def mark_revoked(self, user_id: UUID, session_id: UUID) -> bool:
        """Make a committed revocation known to every service.

        Returns False when Redis could not be told; services then notice within
        ACTIVE_SECONDS + LOCAL_SECONDS, and the caller should try again.
        """
        self._remember(session_id, self._clock(), False)
        return await self._markers.set(marker_key(user_id, session_id), REVOKED, LIFETIME_SECONDS)

    async def _ask(self, user_id: UUID, session_id: UUID) -> bool:
        marker = await self._markers.get(marker_key(user_id, session_id))
        if marker is not None:
            return marker == ACTIVE
        active = await self._row_is_active(user_id, session_id)
        if active:
            await self.mark_active(user_id, session_id)
        # A row that is missing or spent gets no marker: forged ids must not fill Redis.
        return active

    def _remember(self, session_id: UUID, now: float, active: bool) -> None:
        self._local[session_id] = (now, active)
        self._local.move_to_end(session_id)
        if len(self._local) > REMEMBER:
            self._local.popitem(last=False)
