"""Frames and parsing of the WebSocket protocol."""

import contextlib
import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.ranking import Ranking, Row
from scoreboard.notifications import protocol
from scoreboard.notifications.models import Ping, Subscribe, Unsubscribe

USER = uuid.UUID(int=9)


def test_messages() -> None:
    assert protocol.parse('{"type":"ping"}') == Ping()
    assert protocol.parse(
        '{"type":"subscribe","id":"1","channel":"leaderboard","top":5}'
    ) == Subscribe("leaderboard", "1", 5)
    assert protocol.parse('{"type":"unsubscribe","channel":"rank"}') == Unsubscribe("rank")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"type":"x"}',
        '{"type":"subscribe","channel":"leaderboard","top":0}',
        '{"type":"subscribe","channel":"leaderboard","top":101}',
        '{"type":"subscribe","channel":"board"}',
        '{"type":"subscribe","channel":"rank","more":1}',
        '{"type":"subscribe","channel":"users","users":["x"]}',
        '{"type":"ping","id":"' + "x" * 65 + '"}',
        " " * 9000,
    ],
)
def test_bad_messages(text: str) -> None:
    with pytest.raises(protocol.BadMessage):
        protocol.parse(text)


@given(st.text(max_size=100))
def test_any_text_is_a_message_or_bad(text: str) -> None:
    with contextlib.suppress(protocol.BadMessage):
        protocol.parse(text)


@given(st.text(max_size=64) | st.none(), st.text(max_size=20))
def test_frames_are_json_whatever_the_names(request_id: str | None, name: str) -> None:
    ranking = Ranking()
    ranking.apply(Row(USER, 5, 1, 1, "u", name))
    tail = protocol.board_tail("e", 3, 10, 1, ranking.top(10))
    frame = json.loads(protocol.framed("snapshot", tail, request_id))
    assert frame["type"] == "snapshot"
    assert frame.get("id") == request_id
    assert frame["entries"][0]["display_name"] == name
    users = json.loads(protocol.framed("update", protocol.users_tail(ranking, [USER], "e", 3)))
    assert users["entries"][0]["rank"] == 1


def test_rank_without_a_score() -> None:
    frame = json.loads(protocol.rank_frame(Ranking(), USER, "e", 0))
    assert (frame["rank"], frame["score"], frame["version"]) == (None, None, None)


@pytest.mark.parametrize(
    ("offered", "token"),
    [
        (["scoreboard.v1", "bearer.abc.def"], "abc.def"),
        (["bearer.abc"], None),
        (["scoreboard.v1"], None),
        ([], None),
    ],
)
def test_token_in_subprotocols(offered: list[str], token: str | None) -> None:
    assert protocol.token_in(offered) == token


@pytest.mark.parametrize(
    ("origin", "allowed", "expected"),
    [
        (None, (), True),
        ("https://board.example", (), True),
        ("https://board.example:444", (), False),
        ("https://evil.example", (), False),
        ("null", (), False),
        ("https://evil.example", ("*",), True),
        ("https://Shop.example/", ("https://shop.example",), True),
        ("https://board.example", ("https://shop.example",), False),
    ],
)
def test_origins(origin: str | None, allowed: tuple[str, ...], expected: bool) -> None:
    assert protocol.origin_allowed(origin, "board.example", allowed) is expected
