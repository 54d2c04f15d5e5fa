"""Users and permissions."""

from __future__ import annotations

from boards import board, snapshot

from scoreboard_operator.components.kafka.access import (
    FEWEST_ITERATIONS,
    MOST_ITERATIONS,
    Acl,
    acl_changes,
    iterations,
    user_changes,
    wanted_acls,
    wanted_users,
)

from .model import running, secrets


def test_everyone_may_do_what_their_job_needs_and_no_more() -> None:
    topics = [a for a in wanted_acls() if a.resource == "topic"]
    allowed = {(acl.user, acl.operation, acl.name) for acl in topics}
    every = ("score_updates", "user_actions", "system_events")
    assert allowed == {
        ("score", "read", "score_updates"),
        ("score", "read", "user_actions"),
        ("score", "write", "score_updates"),
        ("score", "write", "system_events"),
        ("user", "write", "user_actions"),
        ("user", "write", "system_events"),
        *(("notification", "read", topic) for topic in every),
        ("notification", "write", "system_events"),
    }
    groups = [acl for acl in wanted_acls() if acl.resource == "group"]
    assert {(acl.user, acl.name, acl.prefixed) for acl in groups} == {
        ("score", "score-", True),
        ("user", "user-", True),
        ("notification", "notification-", True),
    }


def test_extra_permissions_of_our_users_go_and_those_of_others_stay() -> None:
    extra = Acl("user", "topic", "score_updates", "all")
    stranger = Acl("analyst", "topic", "score_updates", "read")
    missing = next(iter(wanted_acls()))
    add, remove = acl_changes((wanted_acls() - {missing}) | {extra, stranger})
    assert add == {missing}
    assert remove == {extra}
    assert acl_changes(wanted_acls() | {stranger}) == (frozenset(), frozenset())


def test_missing_users_and_changed_passwords_are_written() -> None:
    present = {user: each.iterations for user, each in wanted_users(board(), running()).items()}
    assert user_changes(wanted_users(board(), running()), present) == ()

    changed = wanted_users(board(), snapshot(*secrets(score="another")))
    assert [each.user for each in user_changes(changed, present)] == ["score"]

    formatted = {"admin": FEWEST_ITERATIONS}  # what the image's format leaves
    written = user_changes(wanted_users(board(), running()), formatted)
    assert [each.user for each in written] == ["admin", "score", "user", "notification"]


def test_a_password_that_does_not_exist_yet_is_waited_for() -> None:
    assert wanted_users(board(), snapshot()) == {}


def test_iterations_are_what_kafka_accepts_and_never_the_default() -> None:
    for number in range(200):
        found = iterations("score", str(number).encode(), b"salt")
        assert FEWEST_ITERATIONS < found <= MOST_ITERATIONS


def test_passwords_are_not_printed() -> None:
    assert "score-secret" not in repr(wanted_users(board(), running()))
