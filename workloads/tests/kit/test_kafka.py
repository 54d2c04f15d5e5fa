"""What the producer says was acknowledged, with a model of aiokafka's."""

import asyncio
from typing import Any

import pytest

from scoreboard.kit import kafka
from scoreboard.kit.kafka import KafkaAccess, Message, Producer

ACCESS = KafkaAccess("kafka:9092", "score", None, None)


class FakeAiokafka:
    """Acknowledges at once, except partitions that hang or refuse."""

    def __init__(self, hangs: set[int] = frozenset(), refuses: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.hangs, self.refuses = hangs, refuses
        self.sent: list[tuple[int, bytes]] = []
        self.stopped = False

    async def partitions_for(self, topic: str) -> set[int]:
        if topic == "missing":
            await asyncio.sleep(60)
        return {0, 1, 2}

    async def send(
        self, topic: str, *, key: bytes, value: bytes, partition: int, headers: Any
    ) -> "asyncio.Future[None]":
        self.sent.append((partition, value))
        answer = asyncio.get_running_loop().create_future()
        if partition in self.refuses and value != b"0":
            answer.set_exception(OSError("refused"))
        elif partition not in self.hangs:
            answer.set_result(None)
        return answer

    async def stop(self) -> None:
        self.stopped = True


def messages(topic: str = "t") -> list[Message]:
    return [Message(topic, b"key-%d" % (n % 12), b"%d" % n) for n in range(48)]


def producer(fake: FakeAiokafka) -> Producer:
    made = Producer(ACCESS, "pod")
    made._producer = fake
    return made


async def test_everything_is_acknowledged_in_order_per_key() -> None:
    fake = FakeAiokafka()
    made = producer(fake)
    assert all(await made.send_all(messages(), 5))
    numbers: dict[int, list[int]] = {}
    for partition, value in fake.sent:
        numbers.setdefault(partition, []).append(int(value))
    assert len(numbers) == 3
    assert all(found == sorted(found) for found in numbers.values())
    assert (made.state(), fake.stopped) == ("up", False)


@pytest.mark.parametrize("kind", ["hangs", "refuses"])
async def test_a_bad_partition_takes_no_other_along_and_is_left_alone(kind: str) -> None:
    fake = FakeAiokafka(**{kind: {1}})  # type: ignore[arg-type]
    made = producer(fake)
    found = await made.send_all(messages(), 0.3)
    place = {int(value): partition for partition, value in fake.sent}
    assert [n for n in range(48) if found[n]] == [
        n for n in range(48) if place[n] != 1 or (kind == "refuses" and n == 0)
    ]
    assert made.state() == "up"
    assert made._producer is None  # a new one, with new sequence numbers
    other = made._producer = FakeAiokafka()
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await made.send_all(messages(), 30) == [place[n] != 1 for n in range(48)]
    assert {partition for partition, _ in other.sent} == {0, 2}
    assert loop.time() - began < 10
    assert fake.stopped


async def test_a_producer_stopped_for_another_caller_says_nothing_about_partitions() -> None:
    old = FakeAiokafka(hangs={0, 1, 2})
    made = producer(old)
    sending = asyncio.ensure_future(made.send_all(messages(), 0.2))
    await asyncio.sleep(0)
    made._producer = FakeAiokafka()  # type: ignore[assignment]
    assert not any(await sending)
    assert all(await made.send_all(messages(), 5))


async def test_a_topic_that_is_not_there_takes_no_other_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka, "TOPIC_SECONDS", 0.05)
    found = await producer(FakeAiokafka()).send_all(messages("missing") + messages(), 5)
    assert found == [False] * 48 + [True] * 48
