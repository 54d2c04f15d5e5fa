"""``scoreboard-migrate``: bring a shard's schema to the newest revision, or say where it is.

Exit codes: 0 done, 1 a revision failed, 2 bad settings, 3 no primary or no lock in time,
4 the schema is behind (``check``), 5 roles are missing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from scoreboard_migrations import roles
from scoreboard_migrations.database import NotReadyError, locked, one_line, primary
from scoreboard_migrations.settings import Settings, SettingsError

OK, FAILED, BAD_SETTINGS, NOT_READY, BEHIND, NO_ROLES = range(6)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script; prints one line per fact, errors on stderr."""
    parser = argparse.ArgumentParser(prog="scoreboard-migrate", description=__doc__)
    parser.add_argument(
        "action",
        choices=("upgrade", "current", "check"),
        help="upgrade: to the newest revision; current: print it; check: fail when behind",
    )
    action = parser.parse_args(argv).action
    try:
        settings = Settings.from_env(os.environ)
        with primary(settings, _say) as connection:
            if action == "upgrade":
                return _upgrade(connection, settings.wait_seconds)
            return _report(connection, must_be_newest=action == "check")
    except SettingsError as error:
        return _fail(BAD_SETTINGS, error)
    except NotReadyError as error:
        return _fail(NOT_READY, error)
    except roles.RolesMissingError as error:
        return _fail(NO_ROLES, error)
    except DBAPIError as error:
        return _fail(FAILED, error)


def head() -> str:
    """The newest revision this package knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    assert newest is not None
    return newest


def current(connection: Connection) -> str | None:
    """The database's revision, or None before the first."""
    return MigrationContext.configure(connection).get_current_revision()


def _upgrade(connection: Connection, wait_seconds: float) -> int:
    with locked(connection, wait_seconds):
        before = current(connection)
        if before == head():
            _say(f"already at {before}")
            return OK
        if not _known(before):
            # An older image after a roll-back: revisions only expand, so it can work with it.
            _say(f"at {before}, newer than this image's {head()}: nothing to do")
            return OK
        for role in roles.ensure(connection):
            _say(f"created role {role} (without a password)")
        _migrate(connection)
        _say(f"upgraded from {before or 'nothing'} to {current(connection)}")
    return OK


def _migrate(connection: Connection) -> None:
    # DDL that has to queue behind a long query would block every query after it; rather fail
    # and let the Job try again.
    connection.execute(text("set lock_timeout = '10s'"))
    # A developer's superuser acts as the owner too, so that objects belong to it everywhere.
    connection.execute(text(f"set role {roles.OWNER}"))
    connection.commit()
    config = _config()
    config.attributes["connection"] = connection.execution_options(isolation_level="READ COMMITTED")
    try:
        command.upgrade(config, "head")
    finally:
        connection.rollback()
        connection.execution_options(isolation_level="AUTOCOMMIT")


def _report(connection: Connection, *, must_be_newest: bool) -> int:
    revision = current(connection)
    behind = revision != head() and _known(revision)
    _say(f"{revision or 'nothing'} (newest here: {head()})")
    return BEHIND if must_be_newest and behind else OK


def _known(revision: str | None) -> bool:
    script = ScriptDirectory.from_config(_config())
    return revision is None or revision in {entry.revision for entry in script.walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "scoreboard_migrations:scripts")
    config.set_main_option("path_separator", "os")
    return config


def _say(line: str) -> None:
    sys.stdout.write(f"scoreboard-migrate: {line}\n")
    sys.stdout.flush()


def _fail(code: int, error: BaseException) -> int:
    sys.stderr.write(f"scoreboard-migrate: error: {one_line(error)}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
