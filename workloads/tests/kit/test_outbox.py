"""The relay's promises: publish in order, delete only after the acknowledgement, keep the fence."""

import asyncio
from typing import Any

import pytest

from scoreboard.kit import outbox
from scoreboard.kit.kafka import KafkaUnavailable, Message


class FakeDatabase:
    """Outbox and lease of one shard, answering the relay's statements."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.fence = 7
        self.deleted: list[int] = []
        self.deleted_with_fence: list[int] = []

    async def fetch(
        self, _: str, topics: list[str], after: int, limit: int, timeout: float
    ) -> list[dict[str, Any]]:
        found = [row for row in self.rows if row["topic"] in topics and row["id"] > after]
        return found[:limit]

    async def execute(self, statement: str, *arguments: Any, timeout: float) -> None:
        assert statement.lstrip().startswith("DELETE")
        ids, _, _, fence = arguments
        if fence != self.fence:
            return
        self.deleted += ids
        self.rows = [row for row in self.rows if row["id"] not in ids]


class FakeProducer:
    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.sent: list[Message] = []
        self.bad: set[bytes] = set()
        """Keys of a partition that does not acknowledge."""

    async def send_all(self, messages: list[Message], seconds: float) -> list[bool]:
        if self.failures:
            self.failures -= 1
            raise KafkaUnavailable("away")
        self.sent += [message for message in messages if message.key not in self.bad]
        return [message.key not in self.bad for message in messages]


def relay(producer: FakeProducer) -> outbox._ShardRelay:
    made = outbox._ShardRelay(None, 0, producer, "pod", "score", ["score_updates"])  # type: ignore[arg-type]
    made._lease_until = float("inf")
    return made


def event(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "topic": "score_updates",
        "key": f"user-{number % 2}",
        "payload": b"%d" % number,
        "headers": '{"event-id": "e", "entity-version": 3}',
    }


async def test_rows_go_out_in_order_and_are_deleted_after_the_acknowledgement() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    database.rows = [event(n) for n in range(1, 1200)]
    await relay(producer)._drain(database, 7)
    assert [int(message.value) for message in producer.sent] == list(range(1, 1200))
    assert not database.rows


async def test_nothing_is_deleted_without_an_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def at_once(_: float) -> None:
        return None

    monkeypatch.setattr(asyncio, "sleep", at_once)
    database, producer = FakeDatabase(), FakeProducer(failures=1)
    database.rows = [event(1)]
    made = relay(producer)
    await made._drain(database, 7)
    assert database.rows
    await made._drain(database, 7)
    assert not database.rows


async def test_what_stays_holds_up_nothing_else_and_goes_out_later_in_order() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    producer.bad = {b"user-1"}
    database.rows = [event(n) for n in range(1, 1200)]
    made = relay(producer)
    await made._drain(database, 7)
    assert [int(message.value) for message in producer.sent] == list(range(2, 1200, 2))
    assert [row["id"] for row in database.rows] == list(range(1, 1200, 2))
    producer.bad, producer.sent = set(), []
    await made._drain(database, 7)
    assert [int(message.value) for message in producer.sent] == list(range(1, 1200, 2))
    assert not database.rows


async def test_a_page_that_stays_as_a_whole_is_gone_past() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    producer.bad = {b"user-1"}
    database.rows = [{**event(n), "key": "user-1"} for n in range(1, 601)] + [event(700)]
    made = relay(producer)
    await made._drain(database, 7)
    await made._drain(database, 7)
    assert [int(message.value) for message in producer.sent] == [700]


async def test_a_record_after_one_that_stayed_is_kept_although_it_arrived() -> None:
    class Gap(FakeProducer):
        async def send_all(self, messages: list[Message], seconds: float) -> list[bool]:
            return [number != 1 for number in range(len(messages))]

    database = FakeDatabase()
    database.rows = [{**event(n), "key": "user"} for n in (1, 2, 3)]
    await relay(Gap())._drain(database, 7)
    assert [row["id"] for row in database.rows] == [2, 3]


async def test_another_service_s_events_are_left_to_it() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    database.rows = [event(1), {**event(2), "topic": "user_actions"}, event(3)]
    await relay(producer)._drain(database, 7)
    assert [int(message.value) for message in producer.sent] == [1, 3]
    assert [row["id"] for row in database.rows] == [2]


async def test_an_old_fence_deletes_nothing() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    database.rows = [event(1)]
    made = relay(producer)
    original = database.execute

    async def once(*arguments: Any, **options: Any) -> None:
        await original(*arguments, **options)
        made._lease_until = float("-inf")

    database.execute = once  # type: ignore[method-assign]
    await made._drain(database, 6)
    assert database.rows
    assert not database.deleted


async def test_without_the_lease_nothing_is_published() -> None:
    database, producer = FakeDatabase(), FakeProducer()
    database.rows = [event(1)]
    made = relay(producer)
    made._lease_until = float("-inf")
    await made._drain(database, 7)
    assert not producer.sent


def test_a_row_becomes_a_message() -> None:
    message = outbox.message_of(event(4))
    assert message.key == b"user-0"
    assert dict(message.headers) == {"event-id": b"e", "entity-version": b"3"}
    assert outbox.message_of({**event(1), "headers": None}).headers == []
