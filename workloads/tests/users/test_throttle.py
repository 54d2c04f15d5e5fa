import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.users.throttle import ACCOUNT, Limit, Throttle, window

LIMIT = Limit("test", 3, 60)


class Counters:
    """Redis that can be away."""

    def __init__(self) -> None:
        self.up = True
        self.counts: dict[str, int] = {}

    async def get(self, key: str) -> bytes | None:
        return str(self.counts[key]).encode() if self.up and key in self.counts else None

    async def incr(self, key: str, ttl: int) -> int | None:
        if not self.up:
            return None
        self.counts[key] = self.counts.get(key, 0) + 1
        return self.counts[key]

    async def delete(self, *keys: str) -> bool:
        for key in keys:
            self.counts.pop(key, None)
        return self.up


class Clock:
    now = 600.0

    def __call__(self) -> float:
        return self.now


async def let_through(throttle: Throttle, subject: str, times: int) -> int:
    passed = 0
    for _ in range(times):
        try:
            await throttle.hit(LIMIT, subject)
            passed += 1
        except Problem as problem:
            assert problem.code == "too-many-attempts"  # noqa: PT017  counting is the point
    return passed


@pytest.mark.parametrize("redis_up", [True, False])
async def test_a_limit_holds_and_ends_with_its_window(redis_up: bool) -> None:
    counters, clock = Counters(), Clock()
    counters.up = redis_up
    throttle = Throttle(counters, clock=clock)
    assert await let_through(throttle, "alice", 10) == 3
    assert await let_through(throttle, "bob", 1) == 1
    clock.now += 60
    assert await let_through(throttle, "alice", 10) == 3


async def test_replicas_share_the_count_through_redis() -> None:
    counters, clock = Counters(), Clock()
    first, second = (Throttle(counters, clock=clock) for _ in range(2))
    assert await let_through(first, "alice", 2) + await let_through(second, "alice", 5) == 3


@pytest.mark.parametrize("redis_up", [True, False])
async def test_failures_are_noted_then_refused_and_cleared(redis_up: bool) -> None:
    counters = Counters()
    counters.up = redis_up
    throttle = Throttle(counters, clock=Clock())
    for _ in range(LIMIT.count):
        await throttle.check(LIMIT, "net")
        await throttle.note(LIMIT, "net")
    with pytest.raises(Problem) as caught:
        await throttle.check(LIMIT, "net")
    assert caught.value.headers["Retry-After"] == "60"
    await throttle.clear(LIMIT, "net")
    await throttle.check(LIMIT, "net")


async def test_account_names_do_not_reach_redis() -> None:
    counters = Counters()
    await Throttle(counters, clock=Clock()).hit(ACCOUNT, "alice@example.com")
    assert not any("alice" in key for key in counters.counts)


@given(st.floats(0, 4e9), st.integers(1, 10_000))
def test_windows_follow_each_other_without_gaps(now: float, seconds: int) -> None:
    limit = Limit("test", 1, seconds)
    number, left = window(limit, now)
    assert 0 < left <= seconds + 1e-6
    assert window(limit, now + left + 1e-3)[0] == number + 1
