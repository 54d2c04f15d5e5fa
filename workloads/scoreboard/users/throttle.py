"""Limits on guessing passwords and on mass registration.

Counts are kept in Redis per fixed window; while Redis is away each process counts for itself,
which is weaker by the number of replicas but never open. An account's attempts are counted before
the password is looked at, so a burst of parallel guesses gets no extra tries; a network's only
after they failed, so that a school or an office behind one address can sign in.
"""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from prometheus_client import Counter

from scoreboard.kit.problems import Problem

THROTTLED = Counter("scoreboard_throttled_total", "Requests refused by a throttle.", ["limit"])
_LOCAL_KEYS: Final = 50_000


@dataclass(frozen=True)
class Limit:
    """At most `count` in any fixed window of `seconds`."""

    name: str
    count: int
    seconds: int


ACCOUNT: Final = Limit("account", 10, 300)
NETWORK: Final = Limit("network", 100, 300)
REGISTER: Final = Limit("register", 600, 300)


class Counters(Protocol):
    """The part of `kit.cache.Cache` that throttles need; it never raises."""

    async def get(self, key: str) -> bytes | None: ...

    async def incr(self, key: str, ttl: int) -> int | None: ...

    async def delete(self, *keys: str) -> bool: ...


def window(limit: Limit, now: float) -> tuple[int, float]:
    """Return the number of the current window and the seconds until it ends (> 0)."""
    number = math.floor(now / limit.seconds)
    return number, (number + 1) * limit.seconds - now


class Throttle:
    """Counts events against limits; `subject` is an account's name or a network."""

    def __init__(self, counters: Counters, *, clock: Callable[[], float] = time.time) -> None:
        self._counters = counters
        self._clock = clock
        self._local: OrderedDict[str, tuple[int, float]] = OrderedDict()

    async def hit(self, limit: Limit, subject: str) -> None:
        """Count one event. Raises Problem too-many-attempts when it is over the limit."""
        key, left = self._key(limit, subject)
        count = await self._counters.incr(key, limit.seconds)
        if count is None:
            count = self._local_incr(key, limit)
        if count > limit.count:
            raise _refusal(limit, left)

    async def check(self, limit: Limit, subject: str) -> None:
        """Raise Problem too-many-attempts when the limit is used up; count nothing."""
        key, left = self._key(limit, subject)
        stored = await self._counters.get(key)
        count = int(stored) if stored is not None else self._local_count(key)
        if count >= limit.count:
            raise _refusal(limit, left)

    async def note(self, limit: Limit, subject: str) -> None:
        """Count one event that has already been let through."""
        key, _ = self._key(limit, subject)
        if await self._counters.incr(key, limit.seconds) is None:
            self._local_incr(key, limit)

    async def clear(self, limit: Limit, subject: str) -> None:
        """Forget the events of the current window."""
        key, _ = self._key(limit, subject)
        self._local.pop(key, None)
        await self._counters.delete(key)

    def _key(self, limit: Limit, subject: str) -> tuple[str, float]:
        number, left = window(limit, self._clock())
        # Hashed: an account name may be an e-mail address, which is nobody's business in Redis.
        digest = hashlib.sha256(subject.encode("utf-8", "replace")).hexdigest()[:32]
        return f"sb:throttle:{limit.name}:{digest}:{number}", left

    def _local_count(self, key: str) -> int:
        count, until = self._local.get(key, (0, 0.0))
        return count if until > self._clock() else 0

    def _local_incr(self, key: str, limit: Limit) -> int:
        count = self._local_count(key) + 1
        self._local[key] = (count, self._clock() + limit.seconds)
        self._local.move_to_end(key)
        if len(self._local) > _LOCAL_KEYS:
            self._local.popitem(last=False)
        return count


def _refusal(limit: Limit, left: float) -> Problem:
    THROTTLED.labels(limit.name).inc()
    return Problem("too-many-attempts", "Try again later.", retry_after=left)
