"""The hub and its connections, without sockets."""

import asyncio
import json
import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from scoreboard.kit.ranking import Ranking, Row
from scoreboard.notifications import connection as connection_module
from scoreboard.notifications import hub as hub_module
from scoreboard.notifications.connection import MAX_ANSWERS, Connection
from scoreboard.notifications.hub import Hub
from scoreboard.notifications.models import Close

A, B = uuid.UUID(int=1), uuid.UUID(int=2)


class FakeBoard:
    def __init__(self) -> None:
        self.ranking = Ranking()
        self.complete = True
        self.live = True


class FakeSocket:
    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed: tuple[int, str | None] | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def send_text(self, data: str) -> None:
        await self.gate.wait()
        self.sent.append(json.loads(data))

    async def close(self, code: int = 1000, reason: str | None = None) -> None:
        self.closed = (code, reason)


class Client:
    def __init__(self, hub: Hub, user: uuid.UUID = A) -> None:
        self.socket = FakeSocket()
        self.connection = Connection(self.socket, user, uuid.uuid4())
        self.hub = hub
        hub.add(self.connection)
        self.task = asyncio.ensure_future(self.connection.run())

    async def say(self, **message: Any) -> None:
        self.hub.receive(self.connection, json.dumps(message))
        await self.settle()

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def take(self) -> list[dict[str, Any]]:
        taken, self.socket.sent = self.socket.sent, []
        return taken


def row(user: uuid.UUID, score: int, version: int) -> Row:
    return Row(user, score, version, version, "u", "U")


async def test_snapshot_then_only_changes() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    board.ranking.apply(row(A, 5, 1))
    client = Client(hub)
    await client.say(type="subscribe", id="7", channel="leaderboard", top=1)
    (snapshot,) = client.take()
    assert (snapshot["type"], snapshot["id"], snapshot["epoch"]) == ("snapshot", "7", hub.epoch)
    await hub.tick(all_ranks=True)
    await client.settle()
    client.take()
    await hub.tick(all_ranks=True)
    await client.settle()
    assert client.take() == []
    board.ranking.apply(row(B, 9, 1))
    await hub.tick(all_ranks=False)
    await client.settle()
    (update,) = client.take()
    assert (update["type"], update["entries"][0]["user_id"]) == ("update", str(B))
    assert update["offset"] > snapshot["offset"]


async def test_a_subscriber_between_ticks_hides_no_change_from_the_others() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    first = Client(hub)
    await first.say(type="subscribe", channel="leaderboard", top=5)
    await hub.tick(all_ranks=False)
    await first.settle()
    first.take()
    board.ranking.apply(row(A, 5, 1))
    second = Client(hub)
    await second.say(type="subscribe", channel="leaderboard", top=5)
    await hub.tick(all_ranks=False)
    await first.settle()
    assert [frame["total"] for frame in first.take()] == [1]


async def test_newest_wins_for_a_client_that_does_not_read() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    client = Client(hub)
    await client.say(type="subscribe", channel="leaderboard", top=5)
    client.take()
    client.socket.gate.clear()
    for version in range(1, 50):
        board.ranking.apply(row(A, version, version))
        await hub.tick(all_ranks=True)
        await client.settle()
        assert client.connection.pending <= 1
    client.socket.gate.set()
    await client.settle()
    assert [frame["entries"][0]["score"] for frame in client.take()] == [1, 49]


async def test_a_snapshot_is_sent_even_when_an_update_follows_at_once() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    client = Client(hub)
    message = {"type": "subscribe", "id": "1", "channel": "leaderboard", "top": 5}
    hub.receive(client.connection, json.dumps(message))
    board.ranking.apply(row(A, 5, 1))
    await hub.tick(all_ranks=True)  # before the sending task had a turn
    await client.settle()
    assert [(f["type"], f.get("id")) for f in client.take()] == [
        ("snapshot", "1"),
        ("update", None),
    ]


async def test_own_rank_moves_when_others_do() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    board.ranking.apply(row(A, 5, 1))
    await hub.tick(all_ranks=True)
    client = Client(hub, A)
    await client.say(type="subscribe", channel="rank")
    assert [frame["rank"] for frame in client.take()] == [1]
    board.ranking.apply(row(B, 9, 1))
    await hub.tick(all_ranks=False)
    await client.settle()
    assert client.take() == []
    await hub.tick(all_ranks=True)
    await client.settle()
    assert [frame["rank"] for frame in client.take()] == [2]
    board.ranking.apply(row(A, 10, 2))
    await hub.tick(all_ranks=False)
    await client.settle()
    assert [(frame["rank"], frame["score"]) for frame in client.take()] == [(1, 10)]


async def test_watched_players() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    client = Client(hub, A)
    await client.say(type="subscribe", channel="users", users=[str(B)])
    assert client.take()[0]["entries"] == []
    board.ranking.apply(row(B, 9, 1))
    await hub.tick(all_ranks=False)
    await client.settle()
    assert [frame["entries"][0]["score"] for frame in client.take()] == [9]
    await client.say(type="unsubscribe", channel="users")
    board.ranking.apply(row(B, 10, 2))
    await hub.tick(all_ranks=True)
    await client.settle()
    assert client.take() == []


async def test_a_revoked_session_is_closed() -> None:
    hub = Hub(FakeBoard())  # type: ignore[arg-type]
    client, other = Client(hub), Client(hub)
    assert hub.close_session(client.connection.session_id) == 1
    await client.task
    assert client.socket.closed == (Close.SESSION_REVOKED, "session revoked")
    assert other.socket.closed is None
    hub.remove(client.connection)
    assert len(hub) == 1


async def test_draining_asks_to_reconnect_and_closes() -> None:
    hub = Hub(FakeBoard())  # type: ignore[arg-type]
    clients = [Client(hub) for _ in range(20)]
    await hub.drain(0.05)
    await asyncio.gather(*(client.task for client in clients))
    for client in clients:
        (frame,) = client.take()
        assert frame["type"] == "reconnect"
        assert 0 <= frame["after_ms"] <= 5000
        assert client.socket.closed == (Close.GOING_AWAY, "reconnect")


async def test_a_client_that_takes_too_long_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SEND_SECONDS", 0.05)
    client = Client(Hub(FakeBoard()))  # type: ignore[arg-type]
    client.socket.gate.clear()
    await client.say(type="ping")
    await client.task
    assert client.socket.closed == (Close.TOO_SLOW, "too slow")


async def test_many_frames_may_take_longer_than_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "SEND_SECONDS", 0.5)
    client = Client(Hub(FakeBoard()))  # type: ignore[arg-type]
    send = client.socket.send_text

    async def steadily(data: str) -> None:
        await asyncio.sleep(0.1)
        await send(data)

    monkeypatch.setattr(client.socket, "send_text", steadily)
    for _ in range(8):
        client.connection.answer("{}")
    async with asyncio.timeout(30):
        while client.connection.pending:
            await asyncio.sleep(0.05)
    assert client.socket.closed is None


async def test_a_client_that_asks_without_reading_is_closed() -> None:
    client = Client(Hub(FakeBoard()))  # type: ignore[arg-type]
    client.socket.gate.clear()
    for _ in range(MAX_ANSWERS + 2):
        client.connection.answer("{}")
    assert client.connection.pending <= MAX_ANSWERS
    client.socket.gate.set()
    await client.task
    assert client.socket.closed == (Close.TOO_MANY, "too many messages")


async def test_staleness_is_announced_and_taken_back() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    client = Client(hub)
    for live in (False, True):
        board.live = live
        await hub.tick(all_ranks=False)
        await client.settle()
    assert [frame["stale"] for frame in client.take()] == [True, False]
    board.live = False
    await hub.tick(all_ranks=False)
    late = Client(hub)
    await late.settle()
    assert [frame["stale"] for frame in late.take()] == [True]


async def test_errors_are_answered() -> None:
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    client = Client(hub)
    hub.receive(client.connection, "{")
    board.complete = False
    await client.say(type="subscribe", id="1", channel="rank")
    assert [frame["code"] for frame in client.take()] == ["invalid-request", "unavailable"]


async def test_a_client_that_says_too_much_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(connection_module, "time", SimpleNamespace(monotonic=lambda: now))
    client = Client(Hub(FakeBoard()))  # type: ignore[arg-type]
    for _ in range(20):
        await client.say(type="ping")
    now += 2  # ten more
    for _ in range(10):
        await client.say(type="ping")
    assert len(client.take()) == 30
    assert client.socket.closed is None
    await client.say(type="ping")
    await client.task
    assert client.take() == []
    assert client.socket.closed == (Close.TOO_MANY, "too many messages")


async def test_a_tick_gives_way_and_sends_nothing_old_to_who_subscribes_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "YIELD_EVERY", 1)
    board = FakeBoard()
    hub = Hub(board)  # type: ignore[arg-type]
    clients = [Client(hub) for _ in range(5)]
    for client in clients:
        await client.say(type="subscribe", channel="leaderboard", top=5)
    board.ranking.apply(row(A, 1, 1))
    tick = asyncio.ensure_future(hub.tick(all_ranks=False))
    await asyncio.sleep(0)
    assert not tick.done()
    board.ranking.apply(row(A, 2, 2))
    for client in clients:
        client.take()
        await client.say(type="subscribe", channel="leaderboard", top=5)
    await tick
    for client in clients:
        await client.settle()
        scores = [frame["entries"][0]["score"] for frame in client.take()]
        assert scores[-1] == 2


def test_sockets_of_a_user_are_counted() -> None:
    hub = Hub(FakeBoard())  # type: ignore[arg-type]
    found = [Connection(FakeSocket(), A, uuid.uuid4()) for _ in range(3)]
    for connection in found:
        hub.add(connection)
    hub.remove(found[0])
    assert (hub.sockets_of(A), hub.sockets_of(B)) == (2, 0)
