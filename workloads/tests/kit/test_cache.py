"""The cache never raises, and an outage costs one time limit and not one per request."""

import asyncio
from typing import Any

import redis.exceptions

from scoreboard.kit.cache import CONCURRENT_CALLS, Cache


class FakeClient:
    def __init__(self) -> None:
        self.calls = 0
        self.together = 0
        self.most = 0
        self.error: Exception | None = None
        self.hang = 0.0
        self.data: dict[str, bytes] = {}

    async def _serve(self) -> None:
        self.calls += 1
        self.together += 1
        self.most = max(self.most, self.together)
        try:
            await asyncio.sleep(self.hang)
            if self.error is not None:
                raise self.error
        finally:
            self.together -= 1

    async def get(self, key: str) -> bytes | None:
        await self._serve()
        return self.data.get(key)

    async def set(self, key: str, value: Any, px: int, nx: bool = False) -> bool | None:
        await self._serve()
        if nx and key in self.data:
            return None
        self.data[key] = value if isinstance(value, bytes) else str(value).encode()
        return True

    async def aclose(self) -> None:
        pass


def cache(client: FakeClient) -> tuple[Cache, list[float]]:
    now = [0.0]
    made = Cache(
        nodes="127.0.0.1:1",
        username="score",
        password_file=None,
        ca_file=None,
        call_seconds=0.05,
        clock=lambda: now[0],
    )
    made._client = client
    return made, now


async def test_values_and_claims() -> None:
    made, _ = cache(FakeClient())
    assert await made.get("a") is None
    assert await made.set("a", b"1", 5)
    assert await made.get("a") == b"1"
    assert await made.add("n", "x", 5) is True
    assert await made.add("n", "y", 5) is False
    assert made.available


async def test_a_failure_is_a_miss_and_is_followed_by_a_rest() -> None:
    client = FakeClient()
    made, now = cache(client)
    client.error = redis.exceptions.ConnectionError("gone")
    assert await made.get("a") is None
    assert await made.add("a", "x", 5) is None
    assert await made.set("a", "x", 5) is False
    assert await made.incr("a", 5) is None
    assert client.calls == 1  # the others did not try
    assert made.state() == "down"
    client.error = None
    now[0] += 1.1
    assert await made.set("a", "x", 5) is True
    assert made.state() == "up"


async def test_a_hanging_server_costs_the_time_limit() -> None:
    client = FakeClient()
    client.hang = 5.0
    made, _ = cache(client)
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await asyncio.gather(*(made.get(str(n)) for n in range(100))) == [None] * 100
    assert loop.time() - began < 1.0
    assert client.most <= CONCURRENT_CALLS


async def test_without_nodes_everything_is_a_miss() -> None:
    made = Cache(nodes="", username="x", password_file=None, ca_file=None)
    assert await made.get("a") is None
    assert await made.mget(["a", "b"]) == [None, None]
    assert await made.delete("a") is False
    assert await made.ping() is False
    await made.close()
