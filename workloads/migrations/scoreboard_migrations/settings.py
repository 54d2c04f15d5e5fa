"""Where the database is: one DSN, or host, user and the files of a mounted Secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

PREFIX = "SCOREBOARD_MIGRATE_"


class SettingsError(Exception):
    """A variable is missing or unusable; the message names it."""


@dataclass(frozen=True)
class Settings:
    """``url`` of the shard's primary; ``wait_seconds`` bounds waiting for it and for the lock."""

    url: URL
    wait_seconds: float

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Settings:
        """Read ``SCOREBOARD_MIGRATE_*``; raises SettingsError with the variable's name.

        Either ``DSN`` (postgresql://user:password@host:port/database?sslmode=…), or ``HOST``,
        ``PORT`` (5432), ``DATABASE`` (scoreboard), ``USER`` (scoreboard_owner), ``PASSWORD_FILE``
        and ``CA_FILE`` (then the server's certificate and name are verified). ``WAIT_SECONDS``
        is 120 unless set.
        """

        def value(name: str, default: str = "") -> str:
            return env.get(PREFIX + name, "") or default

        try:
            wait = float(value("WAIT_SECONDS", "120"))
        except ValueError:
            raise SettingsError(f"{PREFIX}WAIT_SECONDS is not a number of seconds") from None
        if dsn := value("DSN"):
            return cls(_from_dsn(dsn), wait)
        if not (host := value("HOST")):
            raise SettingsError(f"set {PREFIX}DSN, or {PREFIX}HOST and its companions")
        if not value("PORT", "5432").isdigit():
            raise SettingsError(f"{PREFIX}PORT is not a port number")
        query = {"sslmode": "verify-full", "sslrootcert": ca} if (ca := value("CA_FILE")) else {}
        url = URL.create(
            "postgresql+psycopg",
            username=value("USER", "scoreboard_owner"),
            password=_secret(value("PASSWORD_FILE")),
            host=host,
            port=int(value("PORT", "5432")),
            database=value("DATABASE", "scoreboard"),
            query=query,
        )
        return cls(url, wait)


def _from_dsn(dsn: str) -> URL:
    try:
        return make_url(dsn).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        # The DSN itself is not repeated: it may hold a password.
        raise SettingsError(f"{PREFIX}DSN is not a postgresql:// URL") from None


def _secret(path: str) -> str | None:
    if not path:
        return None
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise SettingsError(f"{PREFIX}PASSWORD_FILE: {error.strerror}: {path}") from None
