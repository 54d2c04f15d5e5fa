"""KafkaReady says what is awaited."""

from __future__ import annotations

from typing import Any

import pytest
from boards import board

from scoreboard_operator.components.base import ComponentStatus, Snapshot
from scoreboard_operator.components.kafka import COMPONENT
from scoreboard_operator.components.kafka.state import Observed
from scoreboard_operator.components.kafka.topics import TopicState

from .model import running, settled


def status(observed: Observed | None, snapshot: Snapshot | None = None) -> ComponentStatus:
    return COMPONENT.status(board(), snapshot or running(), observed)


def test_ready() -> None:
    found = status(settled())
    assert (found.ready, found.reason) == (True, "Ready")
    assert found.tables["topics"][0] == {
        "name": "score_updates",
        "partitions": 6,
        "replicationFactor": 3,
        "minInsyncReplicas": 2,
        "retentionHours": 168,
        "underReplicated": 0,
    }
    assert len(found.tables["topics"]) == 3


def with_topic(**state: Any) -> dict[str, TopicState]:
    before = settled().topics
    values: dict[str, Any] = {
        "name": "score_updates",
        "partitions": 6,
        "replication_factor": 3,
        "config": before["score_updates"].config,
    }
    return {**before, "score_updates": TopicState(**(values | state))}


@pytest.mark.parametrize(
    ("observed", "reason", "words"),
    [
        (Observed(problem="no answer"), "BrokersUnreachable", "no answer"),
        (None, "BrokersUnreachable", "not asked yet"),
        (settled(brokers={0: "a", 2: "c"}), "WaitingForBrokers", "demo-kafka-zone-b"),
        (settled(topics={}), "TopicsPending", "create topic score_updates"),
        (settled(topics=with_topic(partitions=2)), "TopicsPending", "to 6 partitions"),
        (settled(topics=with_topic(config={})), "TopicsPending", "retention.ms"),
        (settled(topics=with_topic(replication_factor=1)), "TopicsDiffer", "score_updates"),
        (settled(topics=with_topic(under_replicated=(3,))), "UnderReplicated", "partition 3"),
        (settled(users={}), "UsersPending", "admin, score, user, notification"),
        (settled(acls=frozenset()), "AccessPending", "permissions"),
        (settled(by_certificate=True), "UsersPending", "admin"),
    ],
)
def test_not_ready(observed: Observed | None, reason: str, words: str) -> None:
    found = status(observed)
    assert (found.ready, found.stalled, found.reason) == (False, False, reason)
    assert words in found.message


def test_pods_that_are_not_ready_come_first() -> None:
    found = status(settled(), running(unready=["zone-c"]))
    assert found.reason == "WaitingForBrokers"
    assert "demo-kafka-zone-c" in found.message
    assert "demo-kafka-zone-a" not in found.message


def test_more_partitions_than_wanted_are_ready_and_shown() -> None:
    found = status(settled(topics=with_topic(partitions=9)))
    assert found.ready
    assert found.tables["topics"][0]["partitions"] == 9
