"""scoreboard-migrate against a real server: idempotent, locked, bounded, plain about failures."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest

from scoreboard_migrations import main as program
from scoreboard_migrations.database import LOCK_KEY
from scoreboard_migrations.settings import Settings, SettingsError


@pytest.fixture
def migrate(database: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database that scoreboard-migrate is pointed at."""
    monkeypatch.setenv("SCOREBOARD_MIGRATE_DSN", database)
    monkeypatch.setenv("SCOREBOARD_MIGRATE_WAIT_SECONDS", "10")
    return database


def test_upgrade_is_idempotent(migrate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["check"]) == program.BEHIND
    assert program.main(["upgrade"]) == 0
    assert program.main(["upgrade"]) == 0
    assert program.main(["check"]) == 0
    assert program.main(["current"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-3] == f"scoreboard-migrate: already at {program.head()}"
    assert lines[-1].startswith(f"scoreboard-migrate: {program.head()} ")


def test_two_runs_at_once_migrate_once(migrate: str) -> None:
    codes: list[int] = []
    runs = [threading.Thread(target=lambda: codes.append(program.main(["upgrade"]))) for _ in "ab"]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert codes == [0, 0]


def test_objects_belong_to_the_owner(migrate: str) -> None:
    assert program.main(["upgrade"]) == 0
    with psycopg.connect(migrate) as connection:
        rows = connection.execute(
            "select distinct tableowner from pg_tables where schemaname = 'public'"
        ).fetchall()
    assert rows == [("scoreboard_owner",)]


def test_newer_database_is_left_alone(migrate: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["upgrade"]) == 0
    with psycopg.connect(migrate) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    assert program.main(["upgrade"]) == 0
    assert program.main(["check"]) == 0
    assert "newer than this image's" in capsys.readouterr().out


def test_held_lock_ends_the_wait(
    migrate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOREBOARD_MIGRATE_WAIT_SECONDS", "1")
    with psycopg.connect(migrate, autocommit=True) as other:
        other.execute("select pg_advisory_lock(%s)", (LOCK_KEY,))
        assert program.main(["upgrade"]) == program.NOT_READY
    assert "another migration holds the lock" in capsys.readouterr().err


def test_absent_server_is_waited_for_a_bounded_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOREBOARD_MIGRATE_DSN", "postgresql://nobody@127.0.0.1:1/nothing")
    monkeypatch.setenv("SCOREBOARD_MIGRATE_WAIT_SECONDS", "1")
    started = time.monotonic()
    assert program.main(["upgrade"]) == program.NOT_READY
    assert time.monotonic() - started < 10
    said = capsys.readouterr()
    assert said.err.startswith("scoreboard-migrate: error: no primary within 1 s")
    assert len(said.err.splitlines()) == 1


def test_a_replica_is_not_migrated(
    migrate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SCOREBOARD_MIGRATE_WAIT_SECONDS", "0")
    with psycopg.connect(migrate, autocommit=True) as connection:
        # A function that stands before pg_catalog's in the search path of this database.
        connection.execute("create schema fake")
        connection.execute(
            "create function fake.pg_is_in_recovery() returns bool language sql return true"
        )
        name = connection.info.dbname
        connection.execute(f"alter database {name} set search_path = fake, pg_catalog, public")
    assert program.main(["upgrade"]) == program.NOT_READY
    assert "in recovery" in capsys.readouterr().err


def test_missing_roles_are_named(
    migrate: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with psycopg.connect(migrate, autocommit=True) as connection:
        connection.execute("drop role if exists weak")
        connection.execute("create role weak login")
        connection.execute(f"grant all on database {connection.info.dbname} to weak")
    monkeypatch.setattr("scoreboard_migrations.roles.ROLES", ("nobody_here",))
    monkeypatch.setenv("SCOREBOARD_MIGRATE_DSN", migrate.replace("postgres@", "weak@"))
    assert program.main(["upgrade"]) == program.NO_ROLES
    assert capsys.readouterr().err == (
        "scoreboard-migrate: error: roles do not exist yet: nobody_here\n"
    )


def test_settings_from_parts(tmp_path: object) -> None:
    found = Settings.from_env(
        {"SCOREBOARD_MIGRATE_HOST": "db", "SCOREBOARD_MIGRATE_CA_FILE": "/ca.crt"}
    )
    assert found.url.render_as_string() == (
        "postgresql+psycopg://scoreboard_owner@db:5432/scoreboard"
        "?sslmode=verify-full&sslrootcert=%2Fca.crt"
    )


@pytest.mark.parametrize(
    ("env", "word"),
    [
        ({}, "SCOREBOARD_MIGRATE_HOST"),
        ({"SCOREBOARD_MIGRATE_HOST": "h", "SCOREBOARD_MIGRATE_PORT": "x"}, "PORT"),
        ({"SCOREBOARD_MIGRATE_HOST": "h", "SCOREBOARD_MIGRATE_PASSWORD_FILE": "/no"}, "/no"),
        ({"SCOREBOARD_MIGRATE_DSN": "secret nonsense"}, "DSN"),
        ({"SCOREBOARD_MIGRATE_WAIT_SECONDS": "soon"}, "WAIT_SECONDS"),
    ],
)
def test_bad_settings_are_named(env: dict[str, str], word: str) -> None:
    with pytest.raises(SettingsError, match=word) as caught:
        Settings.from_env(env)
    assert "secret" not in str(caught.value)
