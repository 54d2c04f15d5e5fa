"""A connection to a primary, waited for, and held by at most one migration at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from scoreboard_migrations.settings import Settings

LOCK_KEY = 0x5C0_8EB0_A8D
"""Advisory lock of a shard's migrations; any constant no one else uses."""

_PAUSE_SECONDS = 1.0


class NotReadyError(Exception):
    """The primary, or the migration lock, could not be had in time."""


@contextmanager
def primary(settings: Settings, say: Callable[[str], None]) -> Iterator[Connection]:
    """Yield an autocommit connection to the primary; raises NotReadyError after the bounded wait.

    Every failure to connect is waited out, a refused password too: while a shard comes up, its
    roles and database appear a moment after its port.
    """
    deadline = time.monotonic() + settings.wait_seconds
    engine = create_engine(
        settings.url,
        poolclass=NullPool,
        isolation_level="AUTOCOMMIT",
        connect_args={"connect_timeout": 5, "application_name": "scoreboard-migrate"},
    )
    told = ""
    while True:
        trouble = "in recovery: not the primary"
        try:
            connection = engine.connect()
            if not connection.scalar(text("select pg_is_in_recovery()")):
                break
            connection.close()
        except DBAPIError as error:
            trouble = one_line(error)
        if time.monotonic() >= deadline:
            raise NotReadyError(f"no primary within {settings.wait_seconds:g} s: {trouble}")
        if trouble != told:
            say(f"waiting for the primary: {trouble}")
            told = trouble
        time.sleep(_PAUSE_SECONDS)
    try:
        yield connection
    finally:
        connection.close()
        engine.dispose()


@contextmanager
def locked(connection: Connection, wait_seconds: float) -> Iterator[None]:
    """Hold the migration lock; raises NotReadyError when another run keeps it for too long.

    A session lock: it goes with the connection, so a killed run never leaves it behind.
    """
    deadline = time.monotonic() + wait_seconds
    key = {"key": LOCK_KEY}
    while not connection.scalar(text("select pg_try_advisory_lock(:key)"), key):
        if time.monotonic() >= deadline:
            raise NotReadyError(f"another migration holds the lock for {wait_seconds:g} s")
        time.sleep(_PAUSE_SECONDS)
    try:
        yield
    finally:
        if not connection.invalidated and not connection.closed:
            connection.execute(text("select pg_advisory_unlock(:key)"), key)


def one_line(error: BaseException) -> str:
    """The driver's message without the statement, in one line."""
    origin = getattr(error, "orig", None) or error
    return " ".join(str(origin).split()) or type(origin).__name__
