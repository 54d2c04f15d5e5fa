"""From mounted files and a few variables to the configuration Patroni reads (standard library).

The operator writes what all members share into one document, ``patroni.json`` of a ConfigMap;
what makes a member itself comes from its environment; passwords come from a mounted Secret. The
three are put together here, at start and whenever one of the files changes.
"""

import json
import os
from pathlib import Path
from typing import Any

SETTINGS = Path("/etc/scoreboard/database/patroni.json")
CREDENTIALS = Path("/etc/scoreboard/credentials")
TLS = Path("/etc/scoreboard/tls")
RENDERED = Path("/run/pg/patroni.json")
DATA = Path("/data")

REST_USER = "scoreboard_operator"


class SettingsError(Exception):
    """A file or variable the member needs is missing; the message names it."""


def render(env: dict[str, str]) -> dict[str, Any]:
    """The whole Patroni configuration of this member; raises SettingsError.

    ``env``: MEMBER (pod name), SCOPE (cluster name of the shard), HOST (the member's stable
    Service name), PRIORITY (higher is preferred) and BOOTSTRAPS ("true" in the one zone that may
    create the shard).
    """
    document = json.loads(_read(SETTINGS))
    scope, member, host = (_need(env, name) for name in ("SCOPE", "MEMBER", "HOST"))
    priority = int(_need(env, "PRIORITY"))
    document["scope"] = scope
    document["name"] = member
    document["tags"] = {"failover_priority": priority, "sync_priority": priority}
    document["restapi"]["connect_address"] = f"{host}:8008"
    document["restapi"]["authentication"] = {
        "username": REST_USER,
        "password": password("operator"),
    }
    postgresql = document["postgresql"]
    postgresql["connect_address"] = f"{host}:5432"
    verified = {"sslmode": "verify-full", "sslrootcert": str(TLS / "ca.crt")}
    postgresql["authentication"] = {
        # The superuser comes through the local socket as the operating system's user: it has no
        # password, so no leaked Secret opens it over the network.
        "superuser": {"username": "postgres"},
        "replication": {"username": "replicator", "password": password("replication"), **verified},
        "rewind": {"username": "rewind_user", "password": password("rewind"), **verified},
    }
    if env.get("BOOTSTRAPS") != "true":
        # Patroni lets whoever comes first create the cluster, whatever its priority. Members
        # without this section wait for the preferred zone's member to do it.
        document.pop("bootstrap", None)
    return document


def write(document: dict[str, Any]) -> None:
    """Put the configuration where Patroni reads it, whole or not at all, for this user only."""
    temporary = RENDERED.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(document, file, indent=1)
    temporary.replace(RENDERED)


def fingerprint() -> tuple[tuple[str, int, int], ...]:
    """Changes whenever the kubelet swaps one of the mounted files for a new version."""
    found = []
    for folder in (SETTINGS.parent, CREDENTIALS, TLS):
        for path in sorted(folder.glob("*")):
            try:
                state = path.stat()
            except OSError:  # swapped while we looked; the next round sees the new file
                continue
            found.append((str(path), state.st_ino, state.st_mtime_ns))
    return tuple(found)


def password(name: str) -> str:
    """One password of the credentials Secret, by the first part of its key."""
    return _read(CREDENTIALS / f"{name}-password").strip()


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None


def _need(env: dict[str, str], name: str) -> str:
    value = env.get(name, "")
    if not value:
        raise SettingsError(f"variable {name} is not set")
    return value
