"""The body of a score update."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.scores.models import parse_update


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"action_type":"a","change":1,"extra":2}', "extra", "unknown field"),
        (b'{"change":1}', "action_type", "required"),
        (b'{"action_type":"a"}', "change", "required"),
        (b'{"action_type":"a","change":"1"}', "change", "expected"),
        (b'{"action_type":"a","change":1.5}', "change", "expected"),
        (b'{"action_type":"a","change":true}', "change", "expected"),
        (b'{"action_type":"a","change":99999999999}', "change", "expected"),
        (b'{"action_type":"a b","change":1}', "action_type", "letters"),
        (b'{"action_type":"","change":1}', "action_type", "letters"),
        (b'{"action_type":"a\\n","change":1}', "action_type", "letters"),
        (b"[]", "body", "expected"),
        (b"", "body", "not valid JSON"),
        (b"{", "body", "not valid JSON"),
        (b"\xff", "body", "not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, field: str, message: str) -> None:
    with pytest.raises(Problem) as caught:
        parse_update(body)
    assert caught.value.code == "invalid-request"
    assert caught.value.errors[0].field == field
    assert message in caught.value.errors[0].message


@given(st.binary(max_size=80))
def test_any_bytes_are_an_update_or_a_problem(body: bytes) -> None:
    with contextlib.suppress(Problem):
        parse_update(body)


@given(st.text(), st.integers())
def test_what_is_accepted_is_safe_to_put_into_json(action: str, change: int) -> None:
    # The statement writes the action type between quotes, as it is.
    body = json.dumps({"action_type": action, "change": change}).encode()
    try:
        update = parse_update(body)
    except Problem:
        return
    assert json.loads(f'"{update.action_type}"') == update.action_type


def test_an_idempotency_key_is_tied_to_the_meaning_of_the_body() -> None:
    one = parse_update(b'{"action_type":"a","change":12}')
    same = parse_update(b'{ "change": 12, "action_type": "a" }')
    other = parse_update(b'{"action_type":"a1","change":2}')
    assert one.payload_hash() == same.payload_hash() != other.payload_hash()
