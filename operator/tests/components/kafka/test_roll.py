"""One broker at a time, and only while all others hold every record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import ZONES, board
from hypothesis import given
from hypothesis import strategies as st

from scoreboard_operator.components.base import Snapshot
from scoreboard_operator.components.kafka.roll import hold, order, restarts_due
from scoreboard_operator.components.kafka.state import Observed
from scoreboard_operator.components.kafka.topics import TopicState

from .model import pod, running, settled, workloads

NEWER = {"kafka": {"heap": "256m"}}
BEHIND = TopicState("score_updates", 6, 3, {}, under_replicated=(2, 4))


def reasons(snapshot: Snapshot, observed: Observed) -> dict[str, str | None]:
    """Why each zone's update waits, when all three are to be updated."""
    of = board(NEWER)
    found = workloads(of, snapshot)
    return {zone: hold(of, snapshot, observed, found[zone]) for zone in ZONES}


def allowed(snapshot: Snapshot, observed: Observed) -> list[str]:
    return [zone for zone, reason in reasons(snapshot, observed).items() if reason is None]


def test_one_broker_at_a_time_in_zone_order() -> None:
    found = reasons(running(), settled())
    assert found == {"zone-a": None, "zone-b": "zone zone-a first", "zone-c": "zone zone-a first"}


@pytest.mark.parametrize(("controller", "first"), [(0, "zone-b"), (1, "zone-a"), (2, "zone-a")])
def test_the_active_controller_comes_last(controller: int, first: str) -> None:
    observed = settled(controller=controller)
    assert allowed(running(), observed) == [first]
    assert order(board(), observed)[-1] == ZONES[controller]


def test_the_next_waits_until_the_one_before_is_back() -> None:
    """Zone a has its update but is not ready: nobody else may restart."""
    of, seen = board(NEWER), running()
    updated = running(of, unready=["zone-a"])
    mixed = Snapshot(
        {key: (updated if "zone-a" in key[1] else seen).objects[key] for key in seen.objects}
    )
    assert restarts_due(of, mixed) == {"zone-b", "zone-c"}
    found = {z: hold(of, mixed, settled(), w) for z, w in workloads(of, mixed).items()}
    assert found["zone-a"] is None
    assert found["zone-b"] == found["zone-c"] == "broker demo-kafka-zone-a is not ready yet"


def test_an_update_the_controller_has_not_seen_holds_the_others() -> None:
    seen = running()
    stale = dict(seen.objects)
    first = stale["StatefulSet", "demo-kafka-zone-a"]
    stale["StatefulSet", "demo-kafka-zone-a"] = {
        **first,
        "metadata": {**first["metadata"], "generation": 2},
    }
    assert "zone-b" not in allowed(Snapshot(stale), settled(controller=0))


def test_nobody_restarts_while_copies_are_missing() -> None:
    observed = settled(topics={"score_updates": BEHIND})
    assert allowed(running(), observed) == []
    assert "score_updates partitions 2, 4 not in sync" in str(
        reasons(running(), observed)["zone-a"]
    )


def test_nobody_restarts_while_another_has_not_joined() -> None:
    """But the one that takes no part itself may: that may be what mends it."""
    assert allowed(running(), settled(brokers={0: "zone-a", 1: "zone-b"})) == ["zone-c"]


def test_nobody_restarts_unasked() -> None:
    assert allowed(running(), Observed(problem="no answer")) == []


def test_a_broker_that_is_down_is_never_held() -> None:
    """An image that does not start must not keep out the one that does."""
    assert "zone-b" in allowed(running(unready=["zone-b"]), Observed(problem="no answer"))


def test_edits_by_hand_are_undone_at_once() -> None:
    of, seen = board(), running()
    for workload in workloads(of, seen).values():
        assert hold(of, seen, Observed(problem="no answer"), workload) is None


@given(
    unready=st.sets(st.sampled_from(ZONES)),
    present=st.sets(st.sampled_from([0, 1, 2])),
    behind=st.booleans(),
    controller=st.sampled_from([None, 0, 1, 2]),
)
def test_no_working_broker_is_taken_from_a_troubled_cluster(
    unready: set[str], present: set[int], behind: bool, controller: int | None
) -> None:
    topics = {"score_updates": replace(BEHIND)} if behind else settled().topics
    observed = settled(brokers={i: ZONES[i] for i in present}, topics=topics, controller=controller)
    free = allowed(running(unready=unready), observed)
    working = {zone for i, zone in enumerate(ZONES) if zone not in unready and i in present}
    taken = working & set(free)
    if len(working) < 3 or behind:
        assert not taken
    else:
        assert len(taken) == 1


def test_the_model_of_a_pod_is_that_of_its_zone() -> None:
    made = pod(workloads(board(), running())["zone-a"], ready=True)
    assert made["metadata"]["labels"]["scoreboard.dev/zone"] == "zone-a"
