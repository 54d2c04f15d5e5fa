"""Subset comparison of desired and live objects."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard_operator.reconcile.diff import differences, quantity

json_leaf = st.one_of(st.integers(1, 99), st.text("abc", min_size=1), st.just(True))
json_value = st.recursive(
    json_leaf,
    lambda inner: (
        st.dictionaries(st.text("kxyz", min_size=1), inner, max_size=4)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=12,
)


def _with_extras(value: Any) -> Any:
    """The value as a server might show it: more keys beside ours."""
    if isinstance(value, dict):
        return {k: _with_extras(v) for k, v in value.items()} | {"serverSet": 1}
    if isinstance(value, list):
        return [_with_extras(item) for item in value]
    return value


@given(json_value)
def test_extra_fields_of_others_are_no_difference(value: Any) -> None:
    assert differences(value, _with_extras(value)) == []


@given(st.dictionaries(st.text("kxyz", min_size=1), json_leaf, min_size=1))
def test_each_changed_leaf_is_found(value: dict[str, Any]) -> None:
    for key in value:
        live = deepcopy(value)
        live[key] = "edited by hand"
        assert differences(value, live) == [key]


def test_containers_are_matched_by_name_not_by_position() -> None:
    desired = {"containers": [{"name": "a", "image": "x"}]}
    live = {"containers": [{"name": "injected", "image": "s"}, {"name": "a", "image": "x"}]}
    assert differences(desired, live) == []
    live["containers"][1]["image"] = "y"
    assert differences(desired, live) == ["containers[a].image"]


def test_an_extra_key_in_a_selector_is_drift() -> None:
    assert differences({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}) == ["selector"]


def test_rewritten_quantities_are_equal() -> None:
    desired = {"x": {"resources": {"limits": {"memory": "1024Mi", "cpu": "1000m"}}}}
    live = {"x": {"resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}}
    assert differences(desired, live) == []
    live["x"]["resources"]["limits"]["memory"] = "2Gi"
    assert differences(desired, live) == ["x.resources.limits.memory"]


def test_zero_values_the_server_leaves_out_are_equal() -> None:
    assert differences({"a": 0, "b": "", "c": [], "d": {}, "readOnly": False}, {}) == []


def test_false_is_not_absent_where_absent_means_true() -> None:
    assert differences({"allowPrivilegeEscalation": False}, {}) == ["allowPrivilegeEscalation"]


def test_an_extra_subject_of_a_binding_is_drift() -> None:
    ours = {"kind": "ServiceAccount", "name": "ours"}
    live = {"subjects": [ours, {"kind": "User", "name": "someone"}]}
    assert differences({"subjects": [ours]}, live) == ["subjects"]


@pytest.mark.parametrize(
    ("text", "value"), [("250m", 0.25), ("2", 2), ("1.5Gi", 1.5 * 2**30), ("3k", 3000)]
)
def test_quantity(text: str, value: float) -> None:
    assert float(quantity(text)) == value
