"""Uniqueness across shards, as a model: registrations that die, stall and lose answers anywhere.

The protocol's own code runs (`Claims.reserve`, `repair`, `UserService.register`); only the single
statements on a shard are played by a world in memory, each of which may fail before or after it
took effect or take effect later still, kill its process, or come a minute late.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scoreboard.kit.identity import ClaimKind
from scoreboard.kit.problems import Problem
from scoreboard.users import claims as claims_module
from scoreboard.users.claims import Claim, Claims, Next, Standing, next_step, standing
from scoreboard.users.models import RegisterRequest
from scoreboard.users.repository import Fenced, NewUser
from scoreboard.users.service import UserService

NAMES = ["anna", "Anna", "bert"]
FAULTS = ["none"] * 6 + ["before", "after", "ghost", "crash-before", "crash-after", "late"]


class Crash(BaseException):
    """The process is gone: nothing of it runs any more, no clean-up either."""


@dataclass
class World:
    """What is committed on all shards, and a clock. Statements on it are atomic."""

    now: float = 0.0
    claims: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    users: dict[uuid.UUID, NewUser] = field(default_factory=dict)
    fenced: set[uuid.UUID] = field(default_factory=set)
    ghosts: list[asyncio.Task[None]] = field(default_factory=list)

    def process(self, faults: Sequence[str] = ()) -> "Process":
        return Process(self, list(faults))


@dataclass
class Process:
    """One process and what is going to go wrong with its statements, in order."""

    world: World
    faults: list[str]

    async def statement(self, effect: Any) -> Any:
        """Run one atomic statement somewhere, with the next fault of the plan."""
        fault = self.faults.pop(0) if self.faults else "none"
        await turns(1)
        if fault == "late":
            self.world.now += 61
            await turns(LONG)  # everybody else goes on meanwhile
        if fault == "ghost":
            # The connection broke, and the server commits later, at no time one could know.
            self.world.ghosts.append(asyncio.create_task(haunt(effect)))
        if fault in ("before", "ghost"):
            raise ConnectionError
        if fault == "crash-before":
            raise Crash
        result = effect()
        if fault == "after":
            raise ConnectionError
        if fault == "crash-after":
            raise Crash
        return result


LONG = 30


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def haunt(effect: Any) -> None:
    await turns(LONG)
    with contextlib.suppress(Fenced):
        effect()


class WorldClaims(Claims):
    """The statements of Claims, played by the world."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world

    async def find(self, kind: ClaimKind, value: str) -> Claim | None:
        return await self.process.statement(lambda: self._row(kind, value))

    async def _insert(self, kind: ClaimKind, value: str, user_id: uuid.UUID) -> Claim | None:
        def effect() -> Claim | None:
            key = (kind, value.lower())
            self.world.claims.setdefault(key, [user_id, False, self.world.now])
            return self._row(kind, value)

        return await self.process.statement(effect)

    async def _take_over(self, kind: ClaimKind, value: str, old: Claim, user_id: uuid.UUID) -> bool:
        def effect() -> bool:
            row = self.world.claims.get((kind, value.lower()))
            if row is None or row[0] != old.user_id or row[1]:
                return False
            row[:] = [user_id, False, self.world.now]
            return True

        return await self.process.statement(effect)

    async def confirm(self, kind: ClaimKind, value: str, user_id: uuid.UUID) -> None:
        def effect() -> None:
            row = self.world.claims.get((kind, value.lower()))
            if row is not None and row[0] == user_id:
                row[1] = True

        await self.process.statement(effect)

    async def release(self, kind: ClaimKind, value: str, user_id: uuid.UUID) -> None:
        def effect() -> None:
            row = self.world.claims.get((kind, value.lower()))
            if row is not None and row[0] == user_id and not row[1]:
                del self.world.claims[kind, value.lower()]

        await self.process.statement(effect)

    async def user_exists(self, user_id: uuid.UUID) -> bool:
        return await self.process.statement(lambda: user_id in self.world.users)

    async def fence(self, user_id: uuid.UUID) -> bool:
        def effect() -> bool:
            if user_id in self.world.users:
                return False
            self.world.fenced.add(user_id)
            return True

        return await self.process.statement(effect)

    def _row(self, kind: str, value: str) -> Claim | None:
        row = self.world.claims.get((kind, value.lower()))
        if row is None:
            return None
        return Claim(row[0], row[1], datetime.now(UTC), self.world.now - row[2])


class WorldRepository:
    def __init__(self, process: Process) -> None:
        self.process = process
        self.world = process.world

    async def add_user(self, new: NewUser) -> None:
        def effect() -> None:
            if new.id in self.world.fenced:
                raise Fenced
            self.world.users[new.id] = new

        await self.process.statement(effect)

    async def user(self, user_id: uuid.UUID) -> NewUser | None:
        return self.world.users.get(user_id)


class Free:
    """Passwords and throttles that cost nothing."""

    async def hash(self, password: str) -> str:
        return "hash"

    async def hit(self, limit: object, subject: str) -> None:
        return None


def service_of(process: Process) -> UserService:
    free: Any = Free()
    repository: Any = WorldRepository(process)
    unused: Any = None
    return UserService(
        repository=repository,
        claims=WorldClaims(process),
        passwords=free,
        throttles=free,
        gate=unused,
        keys=unused,
        master_key=unused,
    )


def request_of(name: str, mail: str) -> RegisterRequest:
    return RegisterRequest(username=name, email=f"{mail}@example.com", password="long enough")


async def attempt(process: Process, name: str, mail: str, start: int = 0) -> str:
    await turns(start)
    try:
        user = await service_of(process).register(request_of(name, mail), None)
    except Problem as problem:
        return problem.code
    except ConnectionError:
        return "unavailable"
    except Crash:
        return "crash"
    return str(user.id)


async def sweep(process: Process, start: int = 0) -> None:
    """Do what `Claims.sweep` does on every shard."""
    await turns(start)
    claims = WorldClaims(process)
    world = process.world
    for (kind, value), (user_id, confirmed, since) in list(world.claims.items()):
        if not confirmed and world.now - since >= 60:
            await claims.repair(kind, value, user_id)  # type: ignore[arg-type]


def check(world: World, answers: list[str]) -> None:
    for attribute in ("username", "email"):
        names = [getattr(user, attribute).lower() for user in world.users.values()]
        assert len(names) == len(set(names)), f"two users share a {attribute}"
    for answer in answers:
        if "-" in answer and len(answer) == 36:
            assert uuid.UUID(answer) in world.users, "an acknowledged user is not there"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "WAIT_SECONDS", 0.0)
    monkeypatch.setattr(claims_module, "POLL_SECONDS", 0.0)


START = st.integers(0, 2 * LONG)
PEOPLE = st.tuples(
    st.sampled_from(NAMES),
    st.sampled_from(["a", "A", "b"]),
    START,
    st.lists(st.sampled_from(FAULTS), max_size=9),
)


# The two ways in which a slow registration meets one that has given up on it.
SLOW_INSERT = ["none"] * 4 + ["late"]


@settings(max_examples=250, deadline=None)
@example(people=[("anna", "a", 0, SLOW_INSERT), ("anna", "b", 12, [])], sweeps=[])
@example(people=[("anna", "a", 0, SLOW_INSERT)], sweeps=[12])
@given(people=st.lists(PEOPLE, min_size=1, max_size=4), sweeps=st.lists(START, max_size=2))
def test_a_name_has_one_user_whatever_fails(
    people: list[tuple[str, str, int, list[str]]], sweeps: list[int]
) -> None:
    async def run() -> None:
        world = World()
        sweepers = [asyncio.create_task(sweep(world.process(), start)) for start in sweeps]
        answers = await asyncio.gather(
            *(
                attempt(world.process(faults), name, mail, start)
                for name, mail, start, faults in people
            )
        )
        await asyncio.gather(*sweepers, *world.ghosts)
        check(world, list(answers))
        world.now += 61
        await sweep(world.process())
        check(world, list(answers))
        owners = {(kind, row[0]) for (kind, _), row in world.claims.items() if row[1]}
        assert len(owners) == len(world.claims), "the sweep left an unconfirmed claim"
        assert owners == {(k, u) for u in world.users for k in ("username", "email")}
        # Whoever failed can try again, and gets the name unless somebody has it.
        again = await attempt(world.process(), "anna", "a")
        assert again in {"username-taken", "email-taken"} or uuid.UUID(again) in world.users

    asyncio.run(run())


def test_racing_registrations_have_one_winner() -> None:
    async def run() -> None:
        world = World()
        answers = await asyncio.gather(
            *(attempt(world.process(), "anna", f"m{n}") for n in range(10))
        )
        assert len(world.users) == 1
        assert sum(len(answer) == 36 for answer in answers) == 1
        assert set(answers) <= {str(*world.users), "username-taken", "unavailable"}
        assert len(world.claims) == 2, "the losers' claims are gone"

    asyncio.run(run())


def claim(*, confirmed: bool = False, age: float = 0.0) -> Claim:
    return Claim(uuid.UUID(int=1), confirmed, datetime.now(UTC), age)


def test_standing_before_a_claim() -> None:
    assert standing(claim(), uuid.UUID(int=1)) is Standing.OURS
    assert standing(claim(confirmed=True), uuid.UUID(int=2)) is Standing.TAKEN
    assert standing(claim(), uuid.UUID(int=2)) is Standing.ASK_USER


@given(st.floats(-10, 1e6))
def test_a_user_that_exists_never_loses_its_name(age: float) -> None:
    assert next_step(age, user_exists=True) is Next.CONFIRM
    assert (next_step(age, user_exists=False) is Next.TAKE_OVER) == (age >= 60)


@given(st.uuids())
def test_fences_are_no_usernames(user_id: uuid.UUID) -> None:
    with pytest.raises(ValueError, match="username"):
        request_of(claims_module.fence_value(user_id), "a")
    assert -(2**63) <= claims_module.lock_key(user_id) < 2**63
