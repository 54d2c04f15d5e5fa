"""Applying the changes gives the wanted state, and partitions never shrink."""

from __future__ import annotations

from dataclasses import replace

from boards import board
from hypothesis import given
from hypothesis import strategies as st

from scoreboard_operator.components.kafka.topics import (
    Change,
    Configure,
    Create,
    Grow,
    TopicSettings,
    TopicState,
    changes,
    describe,
    obstacles,
    wanted_topics,
)

names = st.sampled_from(["score_updates", "user_actions", "system_events"])
foreign = st.sampled_from(["theirs", "__consumer_offsets"])
configs = st.dictionaries(
    st.sampled_from(["retention.ms", "min.insync.replicas", "cleanup.policy", "segment.ms"]),
    st.sampled_from(["1", "2", "compact"]),
)


@st.composite
def wanted(draw: st.DrawFn) -> list[TopicSettings]:
    chosen = draw(st.sets(names))
    return [
        TopicSettings(name, draw(st.integers(1, 64)), draw(st.integers(1, 3)), draw(configs))
        for name in sorted(chosen)
    ]


@st.composite
def actual(draw: st.DrawFn) -> dict[str, TopicState]:
    chosen = draw(st.sets(st.one_of(names, foreign)))
    return {
        name: TopicState(name, draw(st.integers(1, 64)), draw(st.integers(1, 3)), draw(configs))
        for name in chosen
    }


def applied(state: dict[str, TopicState], change: Change) -> dict[str, TopicState]:
    """What Kafka does with one change."""
    match change:
        case Create(topic):
            assert topic.name not in state
            made = TopicState(
                topic.name, topic.partitions, topic.replication_factor, dict(topic.config)
            )
            return {**state, topic.name: made}
        case Grow(name, partitions):
            assert partitions > state[name].partitions, "Kafka refuses anything else"
            return {**state, name: replace(state[name], partitions=partitions)}
        case Configure(name, put, reset):
            before = dict(state[name].config or {})
            assert not set(put) & reset
            after = {key: value for key, value in before.items() if key not in reset} | dict(put)
            return {**state, name: replace(state[name], config=after)}


@given(wanted(), actual())
def test_changes_give_the_wanted_state(
    topics: list[TopicSettings], before: dict[str, TopicState]
) -> None:
    after = before
    for change in changes(topics, before):
        after = applied(after, change)
        assert describe(change)
    for topic in topics:
        state = after[topic.name]
        assert state.config == topic.config
        assert state.partitions >= topic.partitions
        if topic.name in before:
            assert state.partitions == max(topic.partitions, before[topic.name].partitions)
            assert state.replication_factor == before[topic.name].replication_factor
    assert changes(topics, after) == (), "a second pass writes nothing"


@given(wanted(), actual())
def test_other_topics_are_left_alone(
    topics: list[TopicSettings], before: dict[str, TopicState]
) -> None:
    after = before
    for change in changes(topics, before):
        after = applied(after, change)
    ours = {topic.name for topic in topics}
    assert {n: s for n, s in after.items() if n not in ours} == {
        n: s for n, s in before.items() if n not in ours
    }


def test_unknown_configuration_is_not_touched() -> None:
    topic = TopicSettings("score_updates", 6, 3, {"retention.ms": "1"})
    assert changes([topic], {"score_updates": TopicState("score_updates", 6, 3, None)}) == ()


def test_too_few_copies_are_told_of() -> None:
    topic = TopicSettings("score_updates", 6, 3)
    found = obstacles([topic], {"score_updates": TopicState("score_updates", 6, 1, {})})
    assert len(found) == 1
    assert "score_updates has 1 copies" in found[0]


def test_three_zones_take_three_copies_and_one_zone_one() -> None:
    spec = {"kafka": {"topics": {"user_actions": {"partitions": 12, "retentionHours": 2}}}}
    topics = {topic.name: topic for topic in wanted_topics(board(spec))}
    assert topics["user_actions"] == TopicSettings(
        "user_actions", 12, 3, {"retention.ms": "7200000", "min.insync.replicas": "2"}
    )
    assert list(topics) == ["score_updates", "user_actions", "system_events"]
    for topic in wanted_topics(board(zones=("zone-a",))):
        assert topic.replication_factor == 1
        assert topic.config["min.insync.replicas"] == "1"
