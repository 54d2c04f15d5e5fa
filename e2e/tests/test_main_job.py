"""Issue 3, section 4, point 1: the main job on real input.

Two players register and log in through the gateway; one posts signed scores. The leaderboard, the
other's open WebSocket, the own score, SQL on the owning shard and no other, the records in
score_updates and the keys in Redis all tell the same. A repeated write changes nothing; a write
that must be refused gets its own problem document and leaves no trace.
"""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from e2e.support import data
from e2e.support.api import Json, Player, problem_of
from e2e.support.board import BoardHandle
from e2e.support.polling import eventually

CHANGES = (100, 250, -50)
TOTAL = sum(CHANGES)


@dataclass(frozen=True)
class Played:
    """A player who has posted ``CHANGES``, somebody who watched, and what was answered."""

    board: BoardHandle
    player: Player
    answers: list[Json]
    last_key: str


def play(board: BoardHandle, player: Player) -> Played:
    """Post ``CHANGES``, each to be accepted."""
    answers, key = [], ""
    for change in CHANGES:
        key = f"main-job-{uuid.uuid4().hex}"
        answer = player.post_score(change, key=key)
        assert answer.status_code == 201, answer.text
        answers.append(answer.json())
    return Played(board, player, answers, key)


@pytest.fixture
def played(demo: BoardHandle, new_player: Callable[[], Player]) -> Played:
    return play(demo, new_player())


def test_leaderboard_socket_and_own_score_agree(
    demo: BoardHandle, new_player: Callable[[], Player]
) -> None:
    """Leaderboard, the other player's open WebSocket and the own score show the signed scores."""
    player, watcher = new_player(), new_player()
    with demo.socket(watcher) as socket:
        socket.subscribe("leaderboard", top=100)
        socket.wait_for(lambda frame: frame["type"] == "snapshot", "a snapshot on subscribing")
        played = play(demo, player)
        pushed = socket.wait_for(
            lambda frame: (row := _row(frame, player)) is not None and row["score"] == TOTAL,
            f"{player.session.username} with {TOTAL} pushed to the open WebSocket",
        )
    last = played.answers[-1]
    assert [answer["version"] for answer in played.answers] == [1, 2, 3]
    assert [answer["change"] for answer in played.answers] == list(CHANGES)
    assert last["score"] == TOTAL
    assert last["user_id"] == player.id

    own = eventually(lambda: _if_version(player.score(), 3), "own score at version 3").value
    assert (own["score"], own["rank"]) == (TOTAL, last["rank"])
    around = eventually(
        lambda: _if_score(_row(demo.gateway.leaderboard(around=player.id), player)),
        "the leaderboard shows the score",
    ).value
    assert around["rank"] == last["rank"]
    assert around["reached_at"] == last["reached_at"] == own["reached_at"]
    on_socket = _row(pushed, player)
    assert on_socket is not None
    assert on_socket["rank"] == last["rank"]


def test_rows_are_on_the_owning_shard_and_no_other(played: Played) -> None:
    """SQL: rows of the player on the shard of the map, nothing of them anywhere else."""
    user, owner = played.player.id, data.owning_shard(played.board, played.player.id)
    bucket = data.bucket_of(user)
    found = data.everywhere(
        played.board,
        f"select (select count(*) from users where id = '{user}') as users,"
        f" (select count(*) from sessions where user_id = '{user}') as sessions,"
        f" (select count(*) from scores where user_id = '{user}') as scores,"
        f" (select count(*) from score_history where user_id = '{user}') as history",
    )
    assert len(found) == 4
    assert found.pop(owner) == [{"users": 1, "sessions": 1, "scores": 1, "history": 3}]
    for shard, rows in found.items():
        assert rows == [{"users": 0, "sessions": 0, "scores": 0, "history": 0}], f"shard {shard}"

    [row] = data.sql(
        played.board,
        owner,
        f"select s.current_score, s.version, s.bucket, bucket_of(s.user_id) as computed,"
        f" u.username from scores s join users u on u.id = s.user_id where s.user_id = '{user}'",
    )
    username = played.player.session.username
    assert row == {
        "current_score": TOTAL,
        "version": 3,
        "bucket": bucket,
        "computed": bucket,
        "username": username,
    }
    history = data.sql(
        played.board,
        owner,
        "select score_change, resulting_score, version, action_type, session_id"
        f" from score_history where user_id = '{user}' order by version",
    )
    assert [entry["score_change"] for entry in history] == list(CHANGES)
    assert [entry["resulting_score"] for entry in history] == [100, 350, TOTAL]
    assert {entry["action_type"] for entry in history} == {"default"}
    assert {entry["session_id"] for entry in history} == {played.player.session.session_id}


def test_records_in_score_updates(played: Played) -> None:
    """Kafka: one record per accepted score, by key, partition and headers."""
    user, board = played.player.id, played.board
    count = data.partitions(board, "score_updates")

    def all_arrived() -> list[data.Record]:
        found = data.records(board, "score_updates", user)
        assert len({record.value["event_id"] for record in found}) == len(CHANGES), found
        return found

    found = eventually(all_arrived, "a record for every score", limit=60).value
    expected = data.murmur2_partition(user.encode(), count)
    for record in found:
        assert record.key == user
        assert record.partition == expected, "not the partition of Kafka's default partitioner"
        assert record.headers["event-id"] == record.value["event_id"]
        assert record.headers["event-type"] == record.value["type"] == "score.updated"
        assert record.headers["content-type"] == "application/json"
        assert record.headers["schema-version"] == "1"
        assert record.headers["entity-version"] == str(record.value["version"])
        assert record.value["user_id"] == user
        assert record.value["username"] == played.player.session.username
        assert record.value["bucket"] == data.bucket_of(user)
        assert record.value["shard"] == data.owning_shard(board, user)
    # At least once: a repeated record is the same event, and order within the key is kept.
    by_version = {record.value["version"]: record.value for record in found}
    assert [by_version[version]["score"] for version in (1, 2, 3)] == [100, 350, TOTAL]
    assert [by_version[version]["change"] for version in (1, 2, 3)] == list(CHANGES)
    versions = [record.value["version"] for record in found]
    assert list(dict.fromkeys(versions)) == [1, 2, 3]


def test_redis_keys_agree(played: Played) -> None:
    """Redis: the session marker, and the shared page of the leaderboard."""
    session, board = played.player.session, played.board
    marker = f"sb:session:{{{session.user_id}}}:{session.session_id}"
    assert data.redis(board, "GET", marker) == "active"
    assert 0 < int(data.redis(board, "TTL", marker)) <= 600

    def same_page() -> bool:
        shared = json.loads(data.redis(board, "GET", "sb:board:{all}:top:100"))
        served = board.gateway.leaderboard(limit=100)
        assert shared["entries"] == served["entries"]
        row = _row(shared, played.player)
        assert row is not None
        assert row["score"] == TOTAL
        return True

    eventually(same_page, "the page in Redis is the page that is served")


def test_repeated_write_changes_nothing(played: Played) -> None:
    """The same write with its Idempotency-Key: the same answer, marked, and nothing changed."""
    before = _trace(played.board, played.player.id)
    again = played.player.post_score(CHANGES[-1], key=played.last_key)
    assert again.status_code == 201
    assert again.json() == played.answers[-1]
    assert again.headers["Idempotency-Replayed"] == "true"
    other = played.player.post_score(CHANGES[-1] + 1, key=played.last_key)
    assert problem_of(other)["code"] == "idempotency-key-reused"
    assert _trace(played.board, played.player.id) == before


def test_refused_writes_leave_no_trace(played: Played) -> None:
    """Each bad write gets its own problem document, and none changes any data."""
    player, board = played.player, played.board
    before = _trace(board, player.id)
    expired = _token(board, player, issued=int(time.time()) - 700, lifetime=600)
    forged = _token(board, player, key=Ed25519PrivateKey.generate())
    other_body = json.dumps({"action_type": "default", "change": 999}).encode()
    valid = player.post_score  # every call below differs from a valid one in one thing
    cases: list[tuple[str, int, httpx.Response]] = [
        ("signature-invalid", 401, valid(1, headers={"X-Signature": "v1=" + "0" * 64})),
        ("timestamp-stale", 401, valid(1, timestamp=int(time.time()) - 120)),
        ("timestamp-stale", 401, valid(1, timestamp=int(time.time()) + 120)),
        ("token-expired", 401, valid(1, headers={"Authorization": f"Bearer {expired}"})),
        ("token-invalid", 401, valid(1, headers={"Authorization": f"Bearer {forged}"})),
        ("unauthenticated", 401, _without(player, "Authorization")),
        ("signature-missing", 401, _without(player, "X-Signature")),
        ("idempotency-key-missing", 400, _without(player, "Idempotency-Key")),
        ("body-too-large", 413, valid(1, body=b'{"x":"' + b"y" * 20_000 + b'"}')),
        ("rule-violated", 422, valid(1001)),
        ("rule-violated", 422, valid(-1001)),
        ("invalid-request", 422, valid(1, body=_json(change=1, action_type="default", bonus=1))),
        ("invalid-request", 422, valid(1, body=_json(change="1", action_type="default"))),
        ("signature-invalid", 401, _altered(player, other_body)),
        # A captured request under a fresh key would be a second write.
        ("signature-invalid", 401, valid(1, headers={"Idempotency-Key": uuid.uuid4().hex})),
    ]
    for code, status, answer in cases:
        assert answer.status_code == status, f"{code}: {answer.status_code} {answer.text}"
        assert problem_of(answer)["code"] == code
    assert problem_of(cases[11][2])["errors"][0]["field"] == "bonus"
    assert problem_of(cases[9][2])["errors"][0]["field"] == "change"
    assert _trace(board, player.id) == before
    eventually(lambda: _if_version(player.score(), len(CHANGES)), "the score is as it was")


def test_revoked_session_is_refused(demo: BoardHandle, new_player: Callable[[], Player]) -> None:
    """A token outlives its session's logout by a second at most."""
    player = new_player()
    player.add(5)
    http = demo.gateway.http
    gone = http.post("/api/v1/auth/logout", headers=player.session.bearer)
    assert gone.status_code == 204
    refused = eventually(
        lambda: answer if (answer := player.post_score(5)).status_code == 401 else None,
        "the revoked session is refused",
        limit=10,
    ).value
    assert problem_of(refused)["code"] == "session-revoked"
    player.session = demo.gateway.login(player.session.username, player.password)


def _row(page: Json, player: Player) -> Json | None:
    return next((e for e in page.get("entries", []) if e["user_id"] == player.id), None)


def _if_version(score: Json, version: int) -> Json | None:
    return score if score["version"] == version else None


def _if_score(row: Json | None) -> Json | None:
    return row if row is not None and row["score"] == TOTAL else None


def _json(**body: object) -> bytes:
    return json.dumps(body).encode()


def _without(player: Player, header: str) -> httpx.Response:
    """A valid write without one of its headers."""
    content = _json(action_type="default", change=1)
    sample = player.gateway.http.build_request("POST", "/api/v1/scores", content=content)
    signed = player.signed_headers(content)
    del signed[header]
    sample.headers.update(signed)
    return player.gateway.http.send(sample)


def _altered(player: Player, body: bytes) -> httpx.Response:
    """A write whose body was changed after it had been signed."""
    signed = player.signed_headers(_json(action_type="default", change=1))
    return player.gateway.http.post("/api/v1/scores", content=body, headers=signed)


def _token(
    board: BoardHandle,
    player: Player,
    *,
    key: Ed25519PrivateKey | None = None,
    issued: int | None = None,
    lifetime: int = 600,
) -> str:
    """An access token as the user service makes them, with its real key unless one is given."""
    [jwk, *_] = json.loads(board.secret("jwt-signing")["jwks-private.json"])["keys"]
    if key is None:
        seed = base64.urlsafe_b64decode(jwk["d"] + "=" * (-len(jwk["d"]) % 4))
        key = Ed25519PrivateKey.from_private_bytes(seed)
    now = int(time.time()) if issued is None else issued
    claims = {
        "iss": "scoreboard",
        "aud": "scoreboard",
        "sub": player.id,
        "sid": player.session.session_id,
        "name": player.session.username,
        "roles": ["player"],
        "iat": now,
        "exp": now + lifetime,
        "jti": uuid.uuid4().hex,
    }
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": jwk["kid"]})


def _trace(board: BoardHandle, user: str) -> dict[int, list[data.Row]]:
    """Everything a write could leave behind for a user, on every shard."""
    return data.everywhere(
        board,
        f"select (select json_agg(s) from scores s where user_id = '{user}') as scores,"
        " (select json_agg(h.id order by h.version) from score_history h"
        f"   where user_id = '{user}') as history,"
        " (select json_agg(k.key order by k.key) from idempotency_keys k"
        f"   where user_id = '{user}') as keys,"
        f" (select cardinality(recent) from rate_limits where user_id = '{user}') as spent",
    )
