"""Password hashing: argon2id in a bounded thread pool.

Parameters are the OWASP minimum (19 MiB, 2 passes, 1 lane). Hashing is the one expensive thing a
stranger can make this service do, so the pool has a fixed number of workers and a request that
would wait for one longer than a second is refused with 503 and Retry-After instead of queueing.
argon2 releases the GIL, so threads really run side by side.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter, Gauge, Histogram

from scoreboard.kit.problems import Problem

T = TypeVar("T")

MEMORY_KIB: Final = 19 * 1024
PASSES: Final = 2
LANES: Final = 1
MAX_WAIT_SECONDS: Final = 1.0
_SMOOTHING: Final = 0.2

WAITING = Gauge("scoreboard_password_waiting", "Requests waiting for a password worker.")
REFUSED = Counter("scoreboard_password_refused_total", "Requests refused because all were busy.")
WORK = Histogram(
    "scoreboard_password_seconds",
    "Time of one password hash or verification, without waiting.",
    buckets=(0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1),
)


def default_workers() -> int:
    """Return one worker for each CPU this process may use, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def expected_wait(waiting: int, workers: int, seconds_each: float) -> float:
    """Return the seconds until a newcomer starts, when `waiting` are in line before it."""
    return (waiting + 1) / workers * seconds_each


class Passwords:
    """Hashes and verifies passwords off the event loop."""

    def __init__(self, workers: int | None = None, *, max_wait: float = MAX_WAIT_SECONDS) -> None:
        self._workers = workers or default_workers()
        self._max_wait = max_wait
        self._free = asyncio.Semaphore(self._workers)
        self._waiting = 0
        self._seconds_each = 0.03
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="argon2")
        self._hasher = PasswordHasher(
            time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=LANES, type=Type.ID
        )
        # Verified for users that do not exist, so that they take as long as those that do.
        self._decoy = self._hasher.hash(os.urandom(16))

    def close(self) -> None:
        """Stop the workers once they have finished what they are at."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the argon2id hash of a password. Raises Problem unavailable when too busy."""
        return await self._work(lambda: self._hasher.hash(password))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Tell whether a password matches; None stands for a user that does not exist.

        Takes the same time either way. Raises Problem unavailable when too busy.
        """

        def check() -> bool:
            try:
                self._hasher.verify(self._decoy if stored is None else stored, password)
            except (VerificationError, InvalidHashError):
                return False
            return stored is not None

        return await self._work(check)

    def needs_rehash(self, stored: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(stored)

    async def _work(self, job: Callable[[], T]) -> T:
        await self._enter()
        began = time.perf_counter()
        future = asyncio.get_running_loop().run_in_executor(self._pool, job)
        # By callback, not `finally`: a cancelled request leaves its thread running, and the
        # worker is free only when that thread is.
        future.add_done_callback(lambda _: self._leave(time.perf_counter() - began))
        return await asyncio.shield(future)

    async def _enter(self) -> None:
        if self._free.locked():
            wait = expected_wait(self._waiting, self._workers, self._seconds_each)
            if wait > self._max_wait:
                raise self._refusal()
        self._waiting += 1
        WAITING.inc()
        try:
            async with asyncio.timeout(self._max_wait):
                await self._free.acquire()
        except TimeoutError:
            raise self._refusal() from None
        finally:
            self._waiting -= 1
            WAITING.dec()

    def _leave(self, seconds: float) -> None:
        self._free.release()
        self._seconds_each += _SMOOTHING * (seconds - self._seconds_each)
        WORK.observe(seconds)

    @staticmethod
    def _refusal() -> Problem:
        REFUSED.inc()
        return Problem("unavailable", "Too many sign-ins at the moment.", retry_after=1)
