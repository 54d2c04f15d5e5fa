"""Which writes a pass makes, with which client, and how often it asks."""

from __future__ import annotations

from typing import Any

import pytest
from boards import board, snapshot

from scoreboard_operator.components.base import Access, Snapshot
from scoreboard_operator.components.kafka import COMPONENT, observe, quorum
from scoreboard_operator.components.kafka.admin import Answer, KafkaUnavailable, Login
from scoreboard_operator.components.kafka.state import Observed
from scoreboard_operator.components.memory import Memory

from .model import running, secrets, settled, workloads


class NoAccess:
    async def patch(self, kind: str, name: str, patch: Any) -> None:
        raise AssertionError

    async def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> None:
        raise AssertionError


ACCESS: Access = NoAccess()


class Broker:
    """Stands for the cluster: answers with ``observed`` and writes down what is written."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed
        self.password: bytes = b"admin-secret"
        self.down = False
        self.asked = 0
        self.written: list[str] = []

    def client(self, login: Login) -> Client:
        return Client(self, login)


class Client:
    def __init__(self, broker: Broker, login: Login) -> None:
        self.broker = broker
        self.by_certificate = bool(login.certificate)
        self.welcome = self.by_certificate or login.password == broker.password

    def read(self, configured: Any) -> Answer:
        self.broker.asked += 1
        if self.broker.down or not self.welcome:
            raise KafkaUnavailable("Kafka: no answer in time")
        seen = self.broker.observed
        return Answer(seen.brokers, seen.topics, seen.acls, seen.users)

    def refused(self) -> bool:
        return not self.broker.down and not self.welcome

    def __getattr__(self, name: str) -> Any:
        def write(*values: Any) -> None:
            self.broker.written.append(f"{name} by {'cert' if self.by_certificate else 'pw'}")

        return write


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    made = Broker(settled())

    class Clients:
        def get(self, key: tuple[str, str], login: Login) -> Client:
            return made.client(login)

    monkeypatch.setattr(observe, "_clients", Clients())
    monkeypatch.setattr(observe, "_answers", {})
    monkeypatch.setattr(observe, "_memory", Memory())
    monkeypatch.setattr(quorum, "active_controller", lambda *_: 1)
    return made


async def one_pass(seen: Snapshot, spec: dict[str, Any] | None = None) -> Observed:
    of = board(spec)
    observed = await COMPONENT.observe(of, seen, ACCESS)
    for step in COMPONENT.steps(of, seen, observed, frozenset()):
        assert step.detail
        await step.run(ACCESS)
    assert isinstance(observed, Observed)
    return observed


async def test_a_quiet_board_is_asked_once_and_written_never(broker: Broker) -> None:
    for _ in range(5):
        await one_pass(running())
    assert broker.asked == 1
    assert broker.written == []


async def test_a_change_of_the_spec_does_not_wait_for_the_kept_answer(broker: Broker) -> None:
    await one_pass(running())
    spec = {"kafka": {"topics": {"score_updates": {"partitions": 8}}}}
    await one_pass(running(), spec)
    assert broker.asked == 2
    assert broker.written == ["grow by pw"]


async def test_a_broker_that_goes_makes_the_kept_answer_worthless(broker: Broker) -> None:
    await one_pass(running())
    await one_pass(running(unready=["zone-b"]))
    assert broker.asked == 2


async def test_nothing_is_kept_while_something_is_awaited(broker: Broker) -> None:
    broker.observed = settled(brokers={0: "zone-a", 1: "zone-b"})
    for _ in range(3):
        await one_pass(running())
    assert broker.asked == 3


async def test_an_empty_cluster_gets_everything(broker: Broker) -> None:
    broker.observed = settled(topics={}, users={"admin": 4096}, acls=frozenset())
    await one_pass(running())
    assert broker.written == ["put_users by pw", "put_acls by pw", "create by pw"]


async def test_topics_wait_for_all_brokers(broker: Broker) -> None:
    broker.observed = settled(topics={}, brokers={0: "zone-a", 2: "zone-c"})
    await one_pass(running())
    assert broker.written == []


async def test_a_lost_admin_password_is_set_again_by_certificate(broker: Broker) -> None:
    seen = running()
    objects = dict(seen.objects)
    for item in secrets(admin="made anew"):
        objects["Secret", item["metadata"]["name"]] = item
    observed = await one_pass(Snapshot(objects))
    assert observed.by_certificate
    assert broker.written == ["put_users by cert"]


async def test_brokers_that_do_not_answer_are_a_state_and_no_error(broker: Broker) -> None:
    broker.down = True
    observed = await one_pass(running())
    assert observed.problem == "Kafka: no answer in time"
    assert broker.written == []


async def test_nobody_is_asked_before_a_pod_is_ready(broker: Broker) -> None:
    observed = await one_pass(running(unready=["zone-a", "zone-b", "zone-c"]))
    assert observed.problem == "no broker is ready"
    assert (await one_pass(snapshot())).problem == "waiting for the Secrets of the brokers"
    assert broker.asked == 0


async def test_the_controller_is_asked_for_only_while_a_restart_is_due(broker: Broker) -> None:
    assert (await one_pass(running())).controller is None
    assert (await one_pass(running(), {"kafka": {"heap": "256m"}})).controller == 1


MORE = {"kafka": {"topics": {"score_updates": {"partitions": 8}}, "heap": "256m"}}


async def missed(broker: Broker, seen: Snapshot, spec: dict[str, Any] | None = None) -> Observed:
    """A pass in which the brokers do not answer (its answer of before does not count)."""
    broker.down = True
    observe._answers.clear()
    return await one_pass(seen, spec)


async def test_two_missed_answers_are_passed_over_and_the_third_is_not(broker: Broker) -> None:
    before = await one_pass(running())
    rows = COMPONENT.status(board(), running(), before).tables
    for _ in range(2):
        observed = await missed(broker, running())
        said = COMPONENT.status(board(), running(), observed)
        assert (said.ready, said.reason, said.tables) == (True, "Ready", rows)
    said = COMPONENT.status(board(), running(), await missed(broker, running()))
    assert (said.ready, said.reason) == (False, "BrokersUnreachable")
    assert said.tables == rows
    broker.down = False
    assert (await one_pass(running())).remembered is None
    assert (await missed(broker, running())).remembered == "Kafka: no answer in time"


async def test_silence_counts_at_once_when_a_pod_is_not_ready(broker: Broker) -> None:
    before = COMPONENT.status(board(), running(), await one_pass(running()))
    for unready in (["zone-b"], ["zone-a", "zone-b", "zone-c"]):
        seen = running(unready=unready)
        observed = await missed(broker, seen)
        assert observed.problem
        said = COMPONENT.status(board(), seen, observed)
        assert (said.ready, said.tables) == (False, before.tables)


async def test_nobody_acts_on_what_was_said_before(broker: Broker) -> None:
    await one_pass(running())
    observed = await missed(broker, running(), MORE)
    assert observed.remembered
    assert COMPONENT.status(board(MORE), running(), observed).reason == "TopicsPending"
    assert broker.written == []
    assert COMPONENT.hold is not None
    for item in workloads(board(MORE), running()).values():
        why = COMPONENT.hold(board(MORE), running(), observed, item)
        assert "cannot be asked" in str(why)
