"""Leader election against an in-memory API with optimistic concurrency."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from scoreboard_operator.kube import lease as module
from scoreboard_operator.kube.client import ApiError
from scoreboard_operator.kube.lease import Lease


class LeaseApi:
    """One Lease with resourceVersion checks, as the API server does them."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.down = False

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if self.down:
            raise OSError("no route")
        return deepcopy(self.stored)

    async def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.stored is not None:
            raise ApiError(409, "exists")
        self.stored = deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = "1"
        return body

    async def replace(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self.stored is not None
        version = self.stored["metadata"]["resourceVersion"]
        if body["metadata"]["resourceVersion"] != version:
            raise ApiError(409, "conflict")
        self.stored = deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = str(int(version) + 1)
        return body


class Clock:
    """A monotonic clock the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module.time, "monotonic", clock.monotonic)
    return clock


def _candidates(api: LeaseApi) -> tuple[Lease, Lease]:
    return tuple(Lease(api, "ns", "lease", name) for name in ("a", "b"))  # type: ignore[arg-type,return-value]


async def test_only_one_holds(clock: Clock) -> None:
    first, second = _candidates(LeaseApi())
    assert await first._attempt(5)
    assert not await second._attempt(5)
    assert await first._attempt(5)


async def test_a_silent_holder_is_replaced_after_the_duration(clock: Clock) -> None:
    first, second = _candidates(LeaseApi())
    assert await first._attempt(5)
    assert not await second._attempt(5)
    clock.now += module.DURATION_SECONDS - 1
    assert not await second._attempt(5)
    clock.now += 2
    assert await second._attempt(5)
    assert not await first._attempt(5)


async def test_a_renewing_holder_is_never_replaced(clock: Clock) -> None:
    api = LeaseApi()
    first, second = _candidates(api)
    for _ in range(20):
        assert await first._attempt(5)
        assert api.stored is not None
        api.stored["spec"]["renewTime"] = f"t{clock.now}"
        assert not await second._attempt(5)
        clock.now += module.RENEW_SECONDS


async def test_release_hands_over_at_once(clock: Clock) -> None:
    first, second = _candidates(LeaseApi())
    assert await first._attempt(5)
    assert not await second._attempt(5)
    await first.release()
    assert await second._attempt(5)


async def test_two_that_race_for_an_expired_lease_cannot_both_win(clock: Clock) -> None:
    api = LeaseApi()
    dead = Lease(api, "ns", "lease", "dead")  # type: ignore[arg-type]
    assert await dead._attempt(5)
    first, second = _candidates(api)
    assert not await first._attempt(5)
    assert not await second._attempt(5)
    clock.now += module.DURATION_SECONDS + 1
    stale = await api.get("Lease", "ns", "lease")
    assert await first._attempt(5)

    async def read_before(*_: Any) -> Any:
        return stale

    api.get = read_before  # type: ignore[method-assign]
    assert not await second._attempt(5)


async def test_an_unreachable_api_is_no_lease(clock: Clock) -> None:
    api = LeaseApi()
    first, _ = _candidates(api)
    assert await first._attempt(5)
    api.down = True
    assert not await first._attempt(5)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """Sleeping moves the clock instead of waiting."""

    async def sleep(seconds: float) -> None:
        clock.now += max(seconds, 0.001)

    monkeypatch.setattr(module.asyncio, "sleep", sleep)


async def test_a_holder_that_cannot_renew_gives_up_before_another_may_take_over(
    clock: Clock, sleeps: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = LeaseApi()
    first, second = _candidates(api)
    await first.acquire()
    assert not await second._attempt(5)
    last_renewal = clock.now

    async def hang(timed: Any, timeout: float) -> None:
        timed.close()
        clock.now += timeout
        raise TimeoutError

    monkeypatch.setattr(module.asyncio, "wait_for", hang)
    await first.hold()
    assert clock.now - last_renewal <= module.GIVE_UP_SECONDS + 0.01
    assert module.GIVE_UP_SECONDS < module.DURATION_SECONDS


async def test_a_holder_that_sees_another_stops_at_once(clock: Clock, sleeps: None) -> None:
    api = LeaseApi()
    first, _ = _candidates(api)
    await first.acquire()
    assert api.stored is not None
    api.stored["spec"]["holderIdentity"] = "b"
    began = clock.now
    await first.hold()
    assert clock.now - began <= module.RENEW_SECONDS + 0.01


async def test_a_lease_someone_emptied_is_taken(clock: Clock) -> None:
    api = LeaseApi()
    api.stored = {"metadata": {"name": "lease", "resourceVersion": "1"}}
    first, _ = _candidates(api)
    assert await first._attempt(5)
