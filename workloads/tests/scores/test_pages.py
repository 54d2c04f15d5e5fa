"""Pages of the board: bytes, tags, cursors."""

import contextlib
import json
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreboard.kit.problems import Problem
from scoreboard.kit.ranking import Ranking, Row, key_of
from scoreboard.scores.pages import (
    Pages,
    decode_cursor,
    encode_cursor,
    etag_of,
    labelled_stale,
    matches,
)

PLAYERS = [uuid.UUID(int=n * 104729 + 3) for n in range(12)]


def row(player: int, score: int, version: int) -> Row:
    return Row(PLAYERS[player], score, version, version, f"u{player}", f"Ü{player}")


moves = st.lists(st.tuples(st.integers(0, 11), st.integers(-3, 3)), max_size=20)


@settings(max_examples=100, deadline=None)
@given(moves, st.lists(moves, max_size=6), st.integers(1, 5))
def test_paging_neither_repeats_nor_skips_what_stays(
    start: list[tuple[int, int]], between: list[list[tuple[int, int]]], limit: int
) -> None:
    ranking = Ranking()
    pages = Pages(ranking)
    version = 0
    for player, score in start:
        version += 1
        ranking.apply(row(player, score, version))
    stayed = {ranked.entry.user_id: ranked.entry.key for ranked in ranking.top(100)}
    seen: list[uuid.UUID] = []
    page = pages.top(limit)
    pending = list(between)
    while True:
        document = json.loads(page.body)
        seen += [uuid.UUID(entry["user_id"]) for entry in document["entries"]]
        if document["next_cursor"] is None:
            break
        for player, score in pending.pop(0) if pending else []:
            version += 1
            ranking.apply(row(player, score, version))
        page = pages.after(decode_cursor(document["next_cursor"]), limit)
    unmoved = [
        user
        for user, key in stayed.items()
        if (entry := ranking.entry(user)) is not None and entry.key == key
    ]
    for user in unmoved:
        assert seen.count(user) == 1
    if not between:
        assert seen == [ranked.entry.user_id for ranked in ranking.top(100)]


@settings(max_examples=100, deadline=None)
@given(moves, moves)
def test_a_kept_page_is_what_a_new_one_would_be(
    start: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    ranking = Ranking()
    pages = Pages(ranking, clock=lambda: 0)
    for version, (player, score) in enumerate(start + later):
        for limit in (1, 3, 20):
            pages.top(limit)
        ranking.apply(row(player, score, version + 1))
        for limit in (1, 3, 20):
            kept = json.loads(pages.top(limit).body)
            fresh = json.loads(Pages(ranking, clock=lambda: 0).top(limit).body)
            # The time of a page is that of the last change it shows.
            assert kept.pop("as_of") <= fresh.pop("as_of")
            assert kept == fresh


def test_a_page_is_built_once_per_change() -> None:
    ranking = Ranking()
    pages = Pages(ranking)
    for player in range(5):
        ranking.apply(row(player, 10 - player, player + 1))
    first = pages.top(3)
    assert pages.top(3) is first
    ranking.apply(row(4, 5, 10))  # below the third place
    assert pages.top(3) is first
    ranking.apply(row(4, 9, 11))
    second = pages.top(3)
    assert second.etag != first.etag
    ranking.rename(PLAYERS[0], None, "New")
    assert json.loads(pages.top(3).body)["entries"][0]["display_name"] == "New"
    assert pages.built == 3


def test_replicas_with_the_same_rows_make_the_same_bytes() -> None:
    rows = [row(player, player % 3, player + 1) for player in range(8)]
    bodies = []
    for order in (rows, rows[::-1]):
        ranking = Ranking()
        ranking.load(order)
        bodies.append(Pages(ranking).top(5))
    assert bodies[0] == bodies[1]


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**64 - 1), st.uuids())
def test_cursors_come_back(score: int, at: int, user: uuid.UUID) -> None:
    key = key_of(score, at, user)
    assert decode_cursor(encode_cursor(key)) == key


@given(st.text(max_size=64))
def test_foreign_cursors_are_refused_or_harmless(text: str) -> None:
    with contextlib.suppress(Problem):
        Pages(Ranking()).after(decode_cursor(text), 5)


def test_around() -> None:
    ranking = Ranking()
    for player in range(9):
        ranking.apply(row(player, 10 - player, player + 1))
    page = Pages(ranking).around(PLAYERS[4], 5)
    assert page is not None
    assert [entry["rank"] for entry in json.loads(page.body)["entries"]] == [3, 4, 5, 6, 7]
    assert Pages(ranking).around(PLAYERS[10], 5) is None


def test_stale_pages_say_so() -> None:
    body = Pages(Ranking(), clock=lambda: 1.0).top(5).body
    assert json.loads(labelled_stale(body)) == {"stale": True, **json.loads(body)}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, False),
        ("", False),
        ('"a"', True),
        ('W/"a"', True),
        ('"b", "a"', True),
        ("*", True),
        ('"b"', False),
    ],
)
def test_if_none_match(header: str | None, expected: bool) -> None:
    assert matches(header, '"a"') is expected
    assert etag_of(b"x").startswith('"')
