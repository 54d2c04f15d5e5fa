"""Rules of a board."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.scores.rules import ActionRule, Rules, check_change, next_score, parse_rules


def parse(**changes: Any) -> Rules:
    document = {
        "maxScore": 1000,
        "operator": "sum",
        "updatesPerMinute": 10,
        "minIntervalMs": 0,
        "actions": {"default": {"minChange": -5, "maxChange": 5}},
    } | changes
    return parse_rules(json.dumps(document).encode())


def test_the_document_of_the_operator_is_understood() -> None:
    rules = parse(actions={"win": {"minChange": 0, "maxChange": 50}}, later="ignored")
    assert rules.actions["win"] == ActionRule(0, 50)
    assert (rules.max_score, rules.operator, rules.updates_per_minute) == (1000, "sum", 10)


@pytest.mark.parametrize(
    "changes",
    [
        {"maxScore": 0},
        {"maxScore": 2**31},
        {"operator": "product"},
        {"updatesPerMinute": 0},
        {"minIntervalMs": -1},
        {"actions": {"a": {"minChange": 2, "maxChange": 1}}},
        {"actions": {"a": {"minChange": 2}}},
    ],
)
def test_rules_that_make_no_sense_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse(**changes)


@pytest.mark.parametrize(
    ("action", "change", "field"),
    [("default", 6, "change"), ("default", -6, "change"), ("other", 6, "change")],
)
def test_changes_out_of_bounds(action: str, change: int, field: str) -> None:
    with pytest.raises(Problem) as caught:
        check_change(parse(), action, change)
    assert caught.value.code == "rule-violated"
    assert caught.value.errors[0].field == field


def test_unknown_actions_take_the_default_or_are_refused() -> None:
    check_change(parse(), "anything", 5)
    with pytest.raises(Problem) as caught:
        check_change(parse(actions={"win": {"minChange": 0, "maxChange": 1}}), "lose", 1)
    assert caught.value.errors[0].field == "action_type"
    assert "win" in caught.value.errors[0].message


def test_bounds_are_inclusive() -> None:
    check_change(parse(), "default", 5)
    check_change(parse(), "default", -5)
    assert next_score(parse(), 995, 5) == 1000
    with pytest.raises(Problem):
        next_score(parse(), 996, 5)
    with pytest.raises(Problem):
        next_score(parse(), -1000, -1)


@given(st.lists(st.integers(-50, 50), min_size=1))
def test_operators_over_a_history(changes: list[int]) -> None:
    results = {}
    for operator in ("sum", "best", "last"):
        score = None
        for change in changes:
            score = next_score(parse(operator=operator, maxScore=100_000), score, change)
        results[operator] = score
    assert results == {"sum": sum(changes), "best": max(changes), "last": changes[-1]}
