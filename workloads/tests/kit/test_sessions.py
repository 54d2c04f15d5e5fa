import uuid

import pytest

from scoreboard.kit.problems import Problem
from scoreboard.kit.sessions import SessionGate, Standing, marker_key

USER = uuid.UUID(int=1)
SESSION = uuid.UUID(int=2)


class World:
    """Redis and the session's row, both of which can be away, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.redis: dict[str, bytes] = {}
        self.redis_up = True
        self.row: Standing | None = Standing.ACTIVE
        self.asked = 0

    async def get(self, key: str) -> bytes | None:
        return self.redis.get(key) if self.redis_up else None

    async def set(self, key: str, value: bytes, ttl: int) -> bool:
        if self.redis_up:
            self.redis[key] = value
        return self.redis_up

    async def add(self, key: str, value: bytes, ttl: int) -> bool | None:
        if not self.redis_up:
            return None
        return self.redis.setdefault(key, value) is value

    async def standing(self, user_id: uuid.UUID, session_id: uuid.UUID) -> Standing:
        self.asked += 1
        if self.row is None:
            raise ConnectionError
        return self.row

    def gate(self) -> SessionGate:
        return SessionGate(self, self.standing, clock=lambda: self.now)


async def revoked(gate: SessionGate) -> bool:
    try:
        await gate.require_active(USER, SESSION)
    except Problem as problem:
        return problem.code == "session-revoked"
    return False


async def test_the_row_is_asked_once_and_everyone_profits() -> None:
    world = World()
    assert not await revoked(world.gate())
    assert not await revoked(world.gate())
    assert world.asked == 1


async def test_a_revocation_reaches_a_gate_that_knows_better_within_a_second() -> None:
    world = World()
    here, there = world.gate(), world.gate()
    assert not await revoked(there)
    world.row = Standing.REVOKED
    assert await here.mark_revoked(USER, SESSION)
    assert await revoked(here)
    assert not await revoked(there), "still within the second it remembers"
    world.now = 1.0
    assert await revoked(there)


async def test_a_late_reader_cannot_write_over_a_revocation() -> None:
    world = World()
    gate = world.gate()
    world.row = Standing.REVOKED
    await gate.mark_revoked(USER, SESSION)
    await world.gate().mark_active(USER, SESSION)
    assert world.redis[marker_key(USER, SESSION)] == b"revoked"


async def test_without_redis_the_row_decides() -> None:
    world = World()
    world.redis_up = False
    assert not await revoked(world.gate())
    world.row = Standing.REVOKED
    assert await revoked(world.gate())
    assert not await world.gate().mark_revoked(USER, SESSION)


async def test_without_both_nobody_is_let_in() -> None:
    world = World()
    world.redis_up, world.row = Standing.REVOKED, None
    with pytest.raises(ConnectionError):
        await world.gate().require_active(USER, SESSION)


async def test_unknown_sessions_leave_nothing_in_redis() -> None:
    world = World()
    world.row = Standing.ABSENT
    assert await revoked(world.gate())
    assert world.redis == {}


async def test_a_missing_row_is_asked_for_again_and_a_revoked_one_never() -> None:
    world = World()
    gate = world.gate()
    world.row = Standing.ABSENT
    assert await revoked(gate)
    world.row = Standing.ACTIVE
    assert await revoked(gate), "within the second it remembers"
    world.now = 1.0
    assert not await revoked(gate), "the row has come (back)"

    world.redis.clear()
    world.now, world.row = 2.0, Standing.REVOKED
    assert await revoked(gate)
    asked = world.asked
    world.now, world.row = 1e6, Standing.ACTIVE
    assert await revoked(gate)
    assert world.asked == asked
