"""Records on their way into the index."""

import json
import uuid
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scoreboard.kit.board import SCORE_UPDATES, USER_ACTIONS, apply_record
from scoreboard.kit.kafka import Record
from scoreboard.kit.ranking import Ranking

USER = uuid.UUID(int=5)


def record(topic: str, value: bytes) -> Record:
    return Record(topic, 0, 0, b"", value, {})


def score(version: int, score: int) -> Record:
    body: dict[str, Any] = {
        "event_id": "e",
        "type": "score.updated",
        "user_id": str(USER),
        "username": "u",
        "display_name": "U",
        "score": score,
        "version": version,
        "reached_at": "2026-01-02T03:04:05.000006Z",
    }
    return record(SCORE_UPDATES, json.dumps(body).encode())


def test_duplicates_and_late_events_change_nothing() -> None:
    ranking = Ranking()
    for version, points in ((1, 10), (2, 20), (1, 10), (2, 20)):
        apply_record(ranking, score(version, points))
    entry = ranking.entry(USER)
    assert entry is not None
    assert (entry.score, entry.version, ranking.changes) == (20, 2, 2)


def test_user_actions() -> None:
    ranking = Ranking()
    apply_record(ranking, score(1, 10))
    update = {"type": "profile.updated", "user_id": str(USER), "display_name": "New"}
    apply_record(ranking, record(USER_ACTIONS, json.dumps(update).encode()))
    entry = ranking.entry(USER)
    assert entry is not None
    assert entry.display_name == "New"
    gone = {"type": "user.erased", "user_id": str(USER)}
    apply_record(ranking, record(USER_ACTIONS, json.dumps(gone).encode()))
    assert ranking.entry(USER) is None


@given(st.sampled_from([SCORE_UPDATES, USER_ACTIONS]), st.binary(max_size=60))
def test_no_record_stops_the_board(topic: str, value: bytes) -> None:
    apply_record(Ranking(), record(topic, value))
