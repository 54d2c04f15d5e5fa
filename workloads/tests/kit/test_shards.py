"""What a failed attempt means, and what `Shard.run` does about it."""

import asyncio
from typing import Any

import asyncpg
import pytest

from scoreboard.kit import postgres
from scoreboard.kit.postgres import Login, Outcome, classify
from scoreboard.kit.shard_map import Member, ShardEntry
from scoreboard.kit.shards import Shard, ShardUnavailable, _Pool


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (asyncpg.ReadOnlySQLTransactionError("x"), Outcome.NOT_APPLIED),
        (asyncpg.DeadlockDetectedError("x"), Outcome.NOT_APPLIED),
        (asyncpg.SerializationError("x"), Outcome.NOT_APPLIED),
        (asyncpg.CannotConnectNowError("x"), Outcome.NOT_APPLIED),
        (asyncpg.AdminShutdownError("x"), Outcome.UNKNOWN),
        (asyncpg.CrashShutdownError("x"), Outcome.UNKNOWN),
        (asyncpg.ConnectionDoesNotExistError("x"), Outcome.UNKNOWN),
        (ConnectionResetError(), Outcome.UNKNOWN),
        (TimeoutError(), Outcome.UNKNOWN),
        (asyncpg.InterfaceError("x"), Outcome.UNKNOWN),
        (asyncpg.UniqueViolationError("x"), Outcome.FINAL),
        (ValueError(), Outcome.FINAL),
    ],
)
def test_classify(error: Exception, outcome: Outcome) -> None:
    assert classify(error) is outcome


class FakeConnection:
    def __init__(self) -> None:
        self.terminated = False

    def terminate(self) -> None:
        self.terminated = True

    def is_in_transaction(self) -> bool:
        return False


class FakePool:
    """Stands for the pool of the primary; `refusals` are raised before a connection is given."""

    def __init__(self, refusals: list[Exception] | None = None) -> None:
        self.refusals = refusals or []
        self.suspected = 0
        self.released: list[FakeConnection] = []

    async def acquire(self, _: float) -> FakeConnection:
        if self.refusals:
            raise self.refusals.pop(0)
        return FakeConnection()

    async def release(self, connection: FakeConnection) -> None:
        self.released.append(connection)

    def suspect(self) -> None:
        self.suspected += 1

    async def close(self) -> None:
        pass


def shard(pool: FakePool) -> Shard:
    made = Shard(ShardEntry(0, "scoreboard", ("p", 1), None, ()), Login("r", None, None, "t"), 2)
    made._primary = pool  # type: ignore[assignment]
    return made


def failing(errors: list[Exception]) -> Any:
    async def work(_: Any) -> str:
        if errors:
            raise errors.pop(0)
        return "done"

    return work


async def test_what_surely_did_nothing_is_tried_again() -> None:
    pool = FakePool([ConnectionRefusedError()])
    work = failing([asyncpg.ReadOnlySQLTransactionError("x"), asyncpg.DeadlockDetectedError("x")])
    made = shard(pool)
    assert await made.run(work, deadline=5) == "done"
    assert pool.suspected == 2  # refused, and read-only; a deadlock says nothing about the server
    assert made.state() == "up"


async def test_a_lost_answer_is_tried_again_only_if_that_is_harmless() -> None:
    pool = FakePool()
    with pytest.raises(ShardUnavailable) as caught:
        await shard(pool).run(failing([ConnectionResetError()]), deadline=5)
    assert caught.value.applied_unknown
    assert pool.released[0].terminated
    assert await shard(FakePool()).run(failing([ConnectionResetError()]), idempotent=True) == "done"


async def test_a_refusal_is_not_tried_again() -> None:
    with pytest.raises(asyncpg.UniqueViolationError):
        await shard(FakePool()).run(failing([asyncpg.UniqueViolationError("x")]))


async def test_the_deadline_holds() -> None:
    made = shard(FakePool([ConnectionRefusedError()] * 100))
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(ShardUnavailable) as caught:
        await made.run(failing([]), deadline=0.3)
    assert loop.time() - began < 1.0
    assert not caught.value.applied_unknown
    assert made.state() == "down"


async def test_cancelling_ends_the_connection() -> None:
    pool = FakePool()

    async def work(_: Any) -> None:
        await asyncio.sleep(60)

    task = asyncio.ensure_future(shard(pool).run(work))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert pool.released[0].terminated


class FakeDriver:
    """Stands for asyncpg's pool: connections at once, or never when the server hangs."""

    def __init__(self, hangs: bool = False) -> None:
        self.hangs = hangs
        self._generation = 0

    async def acquire(self) -> FakeConnection:
        if self.hangs:
            await asyncio.sleep(60)
        return FakeConnection()

    async def release(self, connection: FakeConnection, timeout: float) -> None:
        pass


def real_pool(driver: FakeDriver, size: int) -> _Pool:
    made = _Pool(
        ShardEntry(0, "scoreboard", ("p", 1), None, ()),
        Login("r", None, None, "t"),
        size,
        standby=False,
    )
    made._pool, made._ready = driver, True
    return made


async def test_a_busy_pool_is_not_a_lost_primary() -> None:
    driver = FakeDriver()
    made = shard(FakePool())
    made._primary = real_pool(driver, 1)
    async with made.hold():
        loop = asyncio.get_running_loop()
        began = loop.time()
        with pytest.raises(ShardUnavailable) as caught:
            await made.run(failing([]), deadline=0.1)
        assert not caught.value.applied_unknown
        assert loop.time() - began < 1
        with pytest.raises(TimeoutError):
            async with made.hold(0.05):
                pass
    # Nothing was dropped, nobody says the shard is down, and the slot is free again.
    assert (driver._generation, made.state()) == (0, "unknown")
    assert await made.run(failing([]), deadline=1) == "done"


async def test_a_server_that_hangs_is_suspected() -> None:
    driver = FakeDriver(hangs=True)
    made = shard(FakePool())
    made._primary = real_pool(driver, 1)
    with pytest.raises(ShardUnavailable):
        await made.run(failing([]), deadline=0.1)
    assert driver._generation == 1
    assert made.state() == "down"


async def test_a_slot_is_given_back_once() -> None:
    pool = real_pool(FakeDriver(), 1)
    connection = await pool.acquire(1)
    await pool.release(connection)
    await pool.release(connection)
    await pool.acquire(0.1)
    with pytest.raises(TimeoutError):
        await pool.acquire(0.05)


class ProbedMember:
    """A member as `find` sees it."""

    def __init__(self, standby: bool, timeline: int) -> None:
        self.standby = standby
        self.timeline = timeline
        self.terminated = False

    async def fetchrow(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {
            "standby": self.standby,
            "timeline": None if self.standby else f"{self.timeline:08X}",
        }

    def terminate(self) -> None:
        self.terminated = True


class ProbeLogin:
    def __init__(self, members: dict[str, Any]) -> None:
        self.members = members

    async def connect(self, address: tuple[str, int], *_: Any, **__: Any) -> Any:
        member = self.members[address[0]]
        if isinstance(member, Exception):
            raise member
        if isinstance(member, float):
            await asyncio.sleep(member)
            raise TimeoutError
        return member


async def find(members: dict[str, Any], first: str, standby: bool = False) -> str:
    address, connection = await postgres.find(
        ProbeLogin(members),  # type: ignore[arg-type]
        (first, 1),
        [(name, 1) for name in members if name != first],
        "scoreboard",
        standby,
        {},
    )
    assert not connection.terminated
    return address[0]


async def test_the_service_is_believed_when_it_is_right() -> None:
    members = {"service": ProbedMember(False, 2), "a": ProbedMember(False, 9)}
    assert await find(members, "service") == "service"


async def test_members_are_asked_when_the_service_points_at_a_standby() -> None:
    members = {
        "service": ProbedMember(True, 0),
        "a": ConnectionRefusedError(),
        "b": ProbedMember(False, 3),
        "c": ProbedMember(True, 0),
    }
    assert await find(members, "service") == "b"
    assert members["c"].terminated  # type: ignore[union-attr]


async def test_the_newest_timeline_wins_and_a_hanging_member_holds_nobody_up() -> None:
    members: dict[str, Any] = {
        "service": 30.0,
        "old": ProbedMember(False, 3),
        "new": ProbedMember(False, 4),
        "hangs": 30.0,
    }
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await find(members, "service") == "new"
    assert loop.time() - began < 2.0
    assert members["old"].terminated


async def test_no_primary_is_an_error() -> None:
    with pytest.raises(ConnectionError, match="no primary"):
        await find({"service": ConnectionRefusedError(), "a": ProbedMember(True, 0)}, "service")


def test_members_of_an_entry_are_addresses() -> None:
    assert Member("zone-a", ("h", 5432)).address == ("h", 5432)
