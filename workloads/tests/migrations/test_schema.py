"""The schema's promises: buckets, least privilege, row-level security."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import errors

from scoreboard.kit.identity import bucket_of

USER = uuid.UUID("0192d3a4-0000-7000-8000-000000000001")


@pytest.fixture
def shard(migrated: str) -> Iterator[psycopg.Connection]:
    """A migrated shard with one user, as superuser; roles are taken on by ``set role``."""
    with psycopg.connect(migrated) as connection:
        connection.execute("set role user_service")
        connection.execute(
            "insert into users (id, bucket, username, email, display_name, password_hash)"
            " values (%s, %s, 'ann', 'ann@example.org', 'Ann', 'x')",
            (USER, bucket_of(USER)),
        )
        connection.execute(
            "insert into sessions (id, user_id, bucket, refresh_hash, expires_at)"
            " values (%s, %s, %s, 'h', now() + '1 day')",
            (uuid.uuid4(), USER, bucket_of(USER)),
        )
        connection.execute("reset role")
        yield connection
        connection.rollback()


def test_bucket_twin(shard: psycopg.Connection) -> None:
    for _ in range(500):
        user = uuid.uuid4()
        row = shard.execute("select bucket_of(%s)", (user,)).fetchone()
        assert row == (bucket_of(user),)


def test_wrong_bucket_is_refused(shard: psycopg.Connection) -> None:
    wrong = (bucket_of(USER) + 1) % 960
    with pytest.raises(errors.CheckViolation):
        shard.execute("insert into scores (user_id, bucket) values (%s, %s)", (USER, wrong))


ALLOWED = {
    "score_service": [
        "select id, bucket, username, display_name, status from users",
        f"insert into scores (user_id, bucket) values ('{USER}', bucket_of('{USER}'))",
        "update scores set current_score = 5",
        (
            "insert into score_history"
            " (user_id, bucket, score_change, action_type, resulting_score, version)"
            f" values ('{USER}', 1, 5, 'default', 5, 1)"
        ),
        "insert into outbox (bucket, topic, key, payload) values (1, 'score_updates', 'k', 'p')",
        "insert into outbox_lease values ('relay', 'me', 1, now())",
        f"insert into idempotency_keys (user_id, key, payload_hash) values ('{USER}', 'k', 'h')",
        f"insert into rate_limits values ('{USER}', 1, '{{}}')",
        "select id, user_id, revoked_at, expires_at from sessions",
    ],
    "user_service": [
        "select * from users",
        "update sessions set revoked_at = now()",
        (
            "insert into identity_claims (kind, value, bucket, user_id)"
            f" values ('username', 'ann', 1, '{USER}')"
        ),
        "insert into outbox (bucket, topic, key, payload) values (1, 'user_actions', 'k', 'p')",
        "delete from users",
    ],
    "notification_service": [
        "select id, username, display_name from users",
        "select * from scores",
        "select id, user_id, revoked_at, expires_at from sessions",
    ],
    "analytics": ["select id, email from users", "select * from score_history"],
    "scoreboard_operator": ["select * from alembic_version", "select count(*) from outbox"],
}

REFUSED = {
    "score_service": [
        "select email from users",
        "select password_hash from users",
        "select refresh_hash from sessions",
        "update users set username = 'x'",
        "update score_history set score_change = 0",
        "delete from score_history",
        "select * from identity_claims",
        "create table mine (a int)",
        "delete from scores",
        "delete from rate_limits",
        "update idempotency_keys set status = 500",
        "update outbox set topic = 'user_actions'",
        "insert into outbox (bucket, topic, key, payload) values (1, 'user_actions', 'k', 'p')",
    ],
    "user_service": [
        "insert into outbox (bucket, topic, key, payload) values (1, 'score_updates', 'k', 'p')",
        "update outbox set topic = 'score_updates'",
        "update scores set current_score = 9",
        "select * from rate_limits",
    ],
    "notification_service": ["select email from users", "update scores set current_score = 9"],
    "analytics": [
        "select password_hash from users",
        "select * from sessions",
        "select * from identity_claims",
        "update scores set current_score = 9",
    ],
    "scoreboard_operator": ["select * from users", "select * from scores"],
}


@pytest.mark.parametrize("role", sorted(ALLOWED))
def test_roles_may_do_their_work(shard: psycopg.Connection, role: str) -> None:
    shard.execute(f"set role {role}")
    for statement in ALLOWED[role]:
        shard.execute(statement)


@pytest.mark.parametrize(
    ("role", "statement"), [(role, s) for role, all_ in REFUSED.items() for s in all_]
)
def test_roles_may_do_nothing_else(shard: psycopg.Connection, role: str, statement: str) -> None:
    shard.execute(f"set role {role}")
    with pytest.raises(errors.InsufficientPrivilege):
        shard.execute(statement)


def test_scores_start_at_zero_for_the_user_service(shard: psycopg.Connection) -> None:
    shard.execute("set role user_service")
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        shard.execute(
            f"insert into scores (user_id, bucket, current_score)"
            f" values ('{USER}', bucket_of('{USER}'), 100)"
        )


def test_a_service_sees_its_own_events_only(shard: psycopg.Connection) -> None:
    for topic in ("score_updates", "user_actions"):
        shard.execute(
            f"insert into outbox (bucket, topic, key, payload) values (1, '{topic}', 'k', 'p')"
        )
    for role, topics in {
        "score_service": ["score_updates"],
        "user_service": ["user_actions"],
        "scoreboard_operator": ["score_updates", "user_actions"],
    }.items():
        shard.execute(f"set role {role}")
        found = shard.execute("select topic from outbox order by topic").fetchall()
        assert [topic for (topic,) in found] == topics
        shard.execute("reset role")
    shard.execute("set role user_service")
    shard.execute("delete from outbox")
    shard.execute("reset role")
    assert shard.execute("select topic from outbox").fetchall() == [("score_updates",)]


def test_a_role_without_a_policy_sees_no_row(shard: psycopg.Connection) -> None:
    shard.execute("grant select on users to scoreboard_operator")
    shard.execute("set role scoreboard_operator")
    assert shard.execute("select count(*) from users").fetchone() == (0,)


def test_deleting_a_user_takes_sessions_and_score_along(shard: psycopg.Connection) -> None:
    shard.execute(f"insert into scores (user_id, bucket) values ('{USER}', bucket_of('{USER}'))")
    shard.execute("set role user_service")
    shard.execute("delete from users")
    shard.execute("reset role")
    for table in ("sessions", "scores"):
        assert shard.execute(f"select count(*) from {table}").fetchone() == (0,)


def test_ranking_uses_the_index(shard: psycopg.Connection) -> None:
    shard.execute("set enable_seqscan = off")
    shard.execute("set enable_sort = off")
    plan = shard.execute(
        "explain select * from scores order by current_score desc, reached_at, user_id limit 10"
    ).fetchall()
    assert any("idx_score_ranking" in row[0] for row in plan)
