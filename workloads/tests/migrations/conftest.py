"""A real PostgreSQL for the tests: SCOREBOARD_TEST_POSTGRES, or one started here on 127.0.0.1."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from scoreboard_migrations import main as program


def binaries() -> Path | None:
    """Folder of initdb and pg_ctl of the newest installed PostgreSQL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[4]))
    return found[-1].parent if found else None


def as_server_user(command: list[str]) -> list[str]:
    """initdb refuses to run as root: use the account Debian's package made."""
    return (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *command]
        if (os.geteuid() == 0)
        else command
    )


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """URL of a superuser on a server, without database."""
    given = os.environ.get("SCOREBOARD_TEST_POSTGRES")
    if given:
        yield given.rstrip("/")
        return
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL server is installed (Debian package postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="scoreboard-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    data, log = folder / "data", folder / "log"
    options = f"-p {port} -c listen_addresses=127.0.0.1 -k {folder} -c fsync=off"

    def run(*command: str) -> None:
        subprocess.run(as_server_user(list(command)), check=True, capture_output=True, cwd=folder)

    run(str(found / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8")
    run(str(found / "pg_ctl"), "-D", str(data), "-l", str(log), "-o", options, "-w", "start")
    try:
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        run(str(found / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(server: str) -> Iterator[str]:
    """URL of an empty database of its own."""
    with new_database(server) as url:
        yield url


@pytest.fixture(scope="session")
def migrated(server: str) -> Iterator[str]:
    """URL of a database with the newest schema; tests leave no traces in it."""
    with new_database(server) as url, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCOREBOARD_MIGRATE_DSN", url)
        assert program.main(["upgrade"]) == 0
        yield url


@contextmanager
def new_database(server: str) -> Iterator[str]:
    """URL of a new database, dropped in the end."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f"create database {name}")
        yield f"{server}/{name}"
        admin.execute(f"drop database {name} with (force)")
