"""The rank index against a sorted list."""

import uuid
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from scoreboard.kit.ranking import (
    Change,
    Preview,
    Ranking,
    Row,
    key_of,
    microseconds,
    reached_of,
    score_of,
    timestamp,
    user_of,
)

PLAYERS = [uuid.UUID(int=n * 7919 + 1) for n in range(8)]
scores = st.integers(-(2**31), 2**31 - 1)
few_scores = st.integers(-3, 3)
times = st.integers(0, 2**52)
few_times = st.integers(0, 3)


def row(player: int, score: int, at: int, version: int) -> Row:
    return Row(PLAYERS[player], score, at, version, f"u{player}", f"U{player}")


@given(scores, st.integers(0, 2**64 - 1), st.uuids())
def test_a_key_holds_what_went_in(score: int, at: int, user: uuid.UUID) -> None:
    key = key_of(score, at, user)
    assert (score_of(key), reached_of(key), user_of(key)) == (score, at, user)


@given(st.tuples(scores, times, st.uuids()), st.tuples(scores, times, st.uuids()))
def test_keys_order_as_the_board_does(
    a: tuple[int, int, uuid.UUID], b: tuple[int, int, uuid.UUID]
) -> None:
    ahead = (-a[0], a[1], a[2].int) < (-b[0], b[1], b[2].int)
    assert (key_of(*a) < key_of(*b)) == ahead


operations = st.lists(
    st.one_of(
        st.tuples(st.just("apply"), st.integers(0, 7), few_scores, few_times, st.integers(1, 6)),
        st.tuples(st.just("remove"), st.integers(0, 7)),
        st.tuples(
            st.just("load"),
            st.lists(
                st.tuples(st.integers(0, 7), few_scores, few_times, st.integers(1, 6)), max_size=6
            ),
        ),
    ),
    max_size=40,
)


@settings(max_examples=100, deadline=None)
@given(operations)
def test_it_is_a_sorted_list(steps: list[tuple[object, ...]]) -> None:
    ranking = Ranking()
    seen: list[Change] = []
    ranking.listen(seen.append)
    model: dict[uuid.UUID, Row] = {}

    def apply(one: Row) -> bool:
        known = model.get(one.user_id)
        if known is not None and known.version >= one.version:
            return False
        model[one.user_id] = one
        return True

    for step in steps:
        before = ranking.changes
        if step[0] == "apply":
            one = row(*step[1:])  # type: ignore[arg-type]
            assert ranking.apply(one) == apply(one)
        elif step[0] == "remove":
            user = PLAYERS[step[1]]  # type: ignore[index]
            assert ranking.remove(user) == (model.pop(user, None) is not None)
        else:
            # A snapshot has each player once; the later of two lines stands for a later page.
            rows = [row(*line) for line in step[1]]  # type: ignore[attr-defined]
            unique = list({one.user_id: one for one in rows}.values())
            assert ranking.load(unique) == sum([apply(one) for one in unique])
        ordered = sorted(model.values(), key=lambda r: (-r.score, r.reached_us, r.user_id.int))
        found = ranking.top(100)
        assert [(x.rank, x.entry.user_id) for x in found] == [
            (n + 1, r.user_id) for n, r in enumerate(ordered)
        ]
        for n, r in enumerate(ordered):
            assert ranking.rank(r.user_id) == n + 1
        assert len(ranking) == len(model)
        assert ranking.changes >= before
    assert len(seen) <= ranking.changes


@given(st.lists(st.tuples(st.integers(0, 7), few_scores, few_times), max_size=8), st.data())
def test_around_keeps_the_player_in_a_full_window(
    lines: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    ranking = Ranking()
    for n, (player, score, at) in enumerate(lines):
        ranking.apply(row(player, score, at, n + 1))
    user = data.draw(st.sampled_from(PLAYERS))
    limit = data.draw(st.integers(1, 10))
    found = ranking.around(user, limit)
    if ranking.entry(user) is None:
        assert found is None
        return
    assert found is not None
    assert user in [x.entry.user_id for x in found]
    assert len(found) == min(limit, len(ranking))
    assert [x.rank for x in found] == list(range(found[0].rank, found[0].rank + len(found)))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 7), few_scores), max_size=8),
    st.lists(st.tuples(st.integers(0, 7), few_scores), max_size=8, unique_by=lambda m: m[0]),
)
def test_a_preview_tells_the_ranks_that_applying_gives(
    start: list[tuple[int, int]], moves: list[tuple[int, int]]
) -> None:
    ranking, applied = Ranking(), Ranking()
    for n, (player, score) in enumerate(start):
        ranking.apply(row(player, score, n, n + 1))
        applied.apply(row(player, score, n, n + 1))
    preview = Preview(ranking)
    for n, (player, score) in enumerate(moves):
        user = PLAYERS[player]
        known = applied.entry(user)
        previous = applied.rank(user)
        keeps = known is not None and known.score == score
        at = known.reached_us if known is not None and keeps else 1000 + n
        applied.apply(row(player, score, at, 100 + n))
        assert preview.move(user, score) == (previous, applied.rank(user))
    assert ranking.changes == len(start)  # the board itself was not touched


def test_names_change_in_place() -> None:
    ranking = Ranking()
    ranking.apply(row(0, 5, 1, 1))
    assert ranking.rename(PLAYERS[0], None, "New")
    assert not ranking.rename(PLAYERS[0], "u0", "New")
    assert not ranking.rename(PLAYERS[1], "x", "y")
    entry = ranking.entry(PLAYERS[0])
    assert entry is not None
    assert (entry.username, entry.display_name, entry.version) == ("u0", "New", 1)


def test_a_snapshot_puts_right_what_was_ahead_of_the_database() -> None:
    ranking = Ranking()
    ranking.apply(row(0, 50, 5, 7))
    mark = ranking.changes
    ranking.apply(row(1, 9, 6, 3))  # newer than the snapshot, which may not have seen it
    assert ranking.load([row(0, 40, 3, 6), row(1, 8, 4, 2)], mark) == 1
    found = [(x.entry.score, x.entry.version) for x in ranking.top(9)]
    assert found == [(40, 6), (9, 3)]
    assert ranking.load([row(0, 30, 2, 5)]) == 0  # of unknown age


def test_the_database_is_believed_only_about_the_version_it_was_asked_for() -> None:
    ranking = Ranking()
    ranking.apply(row(0, 50, 5, 7))
    assert not ranking.correct(row(0, 40, 3, 5), 6)  # an event came meanwhile
    assert ranking.correct(row(0, 40, 3, 5), 7)
    assert [(x.entry.score, x.entry.version) for x in ranking.top(9)] == [(40, 5)]


def test_old_names_are_ignored_and_equal_ones_taken() -> None:
    ranking = Ranking()

    def named(name: str, version: int, user_version: int) -> Row:
        return Row(PLAYERS[0], version, version, version, name, name, user_version)

    def name() -> tuple[str, int]:
        entry = ranking.entry(PLAYERS[0])
        assert entry is not None
        return entry.display_name, entry.version

    ranking.apply(named("second", 1, 2))
    assert ranking.apply(named("first", 2, 1))
    assert name() == ("second", 2)
    assert not ranking.rename(PLAYERS[0], None, "first", 1)
    assert ranking.apply(named("third", 1, 3))  # an old score with new names
    assert name() == ("third", 2)
    assert ranking.load([named("fourth", 2, 3)]) == 1
    assert name() == ("fourth", 2)
    assert ranking.load([named("first", 2, 2)]) == 0
    assert ranking.rename(PLAYERS[0], None, "fifth", 4)
    assert name() == ("fifth", 2)


def test_times_are_exact() -> None:
    moment = datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=UTC)
    assert timestamp(microseconds(moment)) == "2026-02-28T23:59:59.999999Z"
