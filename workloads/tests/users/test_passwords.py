import asyncio
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.users.passwords import Passwords, expected_wait


async def test_a_hash_verifies_its_own_password_only() -> None:
    passwords = Passwords(1)
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horsf")
    assert not passwords.needs_rehash(stored)
    assert passwords.needs_rehash(stored.replace("t=2", "t=1"))
    passwords.close()


async def test_an_unknown_user_or_broken_hash_never_verifies() -> None:
    passwords = Passwords(1)
    assert not await passwords.verify(None, "anything")
    assert not await passwords.verify("not a hash", "anything")
    passwords.close()


async def test_an_unknown_user_costs_a_verification() -> None:
    passwords = Passwords(1)
    seen: list[str] = []
    hasher = passwords._hasher

    class Spy:
        def verify(self, stored: str, password: str) -> bool:
            seen.append(stored)
            return hasher.verify(stored, password)

    passwords._hasher = Spy()  # type: ignore[assignment]
    await passwords.verify(None, "anything")
    assert seen[0].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    passwords.close()


async def test_a_full_pool_refuses_instead_of_queueing_and_recovers() -> None:
    passwords = Passwords(2, max_wait=0.05)
    gate = threading.Event()
    busy = [asyncio.create_task(passwords._work(gate.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Problem) as caught:
        await passwords._work(lambda: None)
    assert (caught.value.code, caught.value.headers["Retry-After"]) == ("unavailable", "1")
    gate.set()
    await asyncio.gather(*busy)
    assert await passwords._work(lambda: "done") == "done"
    passwords.close()


async def test_a_cancelled_request_keeps_its_worker_until_the_thread_is_done() -> None:
    passwords = Passwords(1, max_wait=0.05)
    gate = threading.Event()
    task = asyncio.create_task(passwords._work(gate.wait))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(Problem):
        await passwords._work(lambda: None)
    gate.set()
    passwords._max_wait = 5.0
    assert await passwords._work(lambda: "free again") == "free again"
    passwords.close()


@given(st.integers(0, 100), st.integers(1, 8), st.floats(0.001, 1))
def test_waiting_grows_with_the_line_and_shrinks_with_workers(
    waiting: int, workers: int, each: float
) -> None:
    now = expected_wait(waiting, workers, each)
    assert expected_wait(waiting + 1, workers, each) > now > 0
    assert expected_wait(waiting, workers + 1, each) < now
