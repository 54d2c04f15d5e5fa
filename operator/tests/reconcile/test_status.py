"""Conditions and tables: kstatus rules, transition times, Events."""

from __future__ import annotations

from typing import Any

from boards import board, snapshot

from scoreboard_operator.components.base import Component, ComponentStatus
from scoreboard_operator.reconcile.status import (
    build_status,
    is_true,
    stalled_status,
    transitions,
)

COMPONENT = Component(
    name="kafka",
    condition="KafkaReady",
    desired=lambda b, s: [],
    status=lambda b, s, o: ComponentStatus(True, "Ready", ""),
)


def _status(result: ComponentStatus, old: dict[str, Any] | None = None, **rest: Any) -> Any:
    held = rest.pop("held", {})
    return build_status(
        board(rest.pop("spec", None)),
        snapshot(),
        [(COMPONENT, result)],
        held,
        rest.pop("open_work", 0),
        old or {},
        rest.pop("now", "2026-01-01T00:00:00Z"),
    )


def _types(status: Any) -> dict[str, str]:
    return {c["type"]: c["status"] for c in status["conditions"]}


READY = ComponentStatus(True, "Ready", "fine")
WAITING = ComponentStatus(False, "WaitingForBrokers", "waiting for demo-kafka-zone-b")
STALLED = ComponentStatus(False, "SecretNotFound", "spec.gateway.tls.secretName", stalled=True)


def test_ready_board_has_neither_reconciling_nor_stalled() -> None:
    status = _status(READY)
    assert _types(status) == {"Ready": "True", "KafkaReady": "True"}
    assert status["observedGeneration"] == 3
    assert all(c["observedGeneration"] == 3 for c in status["conditions"])


def test_waiting_board_is_reconciling_and_says_for_what() -> None:
    status = _status(WAITING)
    assert _types(status) == {"Ready": "False", "Reconciling": "True", "KafkaReady": "False"}
    assert "demo-kafka-zone-b" in status["conditions"][0]["message"]


def test_stalled_board_is_not_reconciling() -> None:
    assert _types(_status(STALLED)) == {
        "Ready": "False",
        "Stalled": "True",
        "KafkaReady": "False",
    }


def test_held_updates_keep_ready_false() -> None:
    status = _status(READY, held={"demo-score-zone-b": "zone zone-a first"})
    assert _types(status)["Ready"] == "False"


def test_transition_times_move_only_with_the_status_word() -> None:
    first = _status(WAITING, now="2026-01-01T00:00:00Z")
    same = _status(WAITING, first, now="2026-01-02T00:00:00Z")
    assert same == first
    turned = _status(READY, first, now="2026-01-03T00:00:00Z")
    assert {c["lastTransitionTime"] for c in turned["conditions"]} == {"2026-01-03T00:00:00Z"}


def test_paused_is_ready_only_when_nothing_is_left_undone() -> None:
    spec = {"paused": True}
    assert _types(_status(READY, spec=spec))["Ready"] == "True"
    left = _status(READY, spec=spec, open_work=2)
    assert _types(left)["Ready"] == "False"
    assert "2 changes" in left["conditions"][0]["message"]


def test_events_only_on_transitions() -> None:
    first = _status(WAITING)
    ready = _status(READY, first)
    assert [t.type for t in transitions(first, ready)] == ["Ready", "KafkaReady"]
    assert transitions(ready, ready) == []
    assert [t.status for t in transitions(ready, first)] == ["False", "False"]


def test_stalled_spec_keeps_tables_and_component_conditions() -> None:
    old = _status(READY)
    old["shards"] = [{"index": 0}]
    resource = {"metadata": {"generation": 4}, "status": old}
    status = stalled_status(resource, "ZoneNotFound", "spec.zones: …", "2026-01-02T00:00:00Z")
    assert status["shards"] == [{"index": 0}]
    assert is_true(status, "Stalled")
    assert is_true(status, "KafkaReady")
    assert status["observedGeneration"] == 4
    generations = {c["type"]: c["observedGeneration"] for c in status["conditions"]}
    assert generations == {"Ready": 4, "Stalled": 4, "KafkaReady": 3}
