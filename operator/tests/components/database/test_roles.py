"""The operator's idea of the roles and the image's must be the same."""

from __future__ import annotations

import importlib.util
import sys
from base64 import b64encode
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from boards import board, snapshot

from scoreboard_operator.components.database import patroni, roles

IMAGE = Path(__file__).parents[4] / "workloads/images/postgres"


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, IMAGE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def image(monkeypatch: pytest.MonkeyPatch) -> tuple[ModuleType, ModuleType]:
    settings = load("settings", monkeypatch)
    return settings, load("roles", monkeypatch)


def credentials() -> dict[str, Any]:
    data = {
        f"{key}-password": b64encode(f"secret-{key}".encode()).decode()
        for key in roles.KEYS.values()
    }
    return {"kind": "Secret", "metadata": {"name": "demo-db-credentials"}, "data": data}


def test_digests_agree(image: tuple[ModuleType, ModuleType]) -> None:
    _, in_image = image
    assert {role: key for role, (key, _) in in_image.LOGINS.items()} == roles.KEYS
    passwords = {key: f"secret-{key}" for key in roles.KEYS.values()}
    assert roles.digest(board(), snapshot(credentials())) == in_image.digest(passwords)


def test_digest_needs_every_password() -> None:
    secret = credentials()
    del secret["data"]["rewind-password"]
    assert roles.digest(board(), snapshot(secret)) is None


def test_verifier_is_recognised(image: tuple[ModuleType, ModuleType]) -> None:
    _, in_image = image
    # RFC 7677's example: user "user", password "pencil", salt W22ZaJ0SNY7soEsUEjb6gQ==
    verifier = (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )
    assert in_image.verifier_matches(verifier, "pencil")
    assert not in_image.verifier_matches(verifier, "pen")
    assert not in_image.verifier_matches("md5abc", "pencil")
    assert not in_image.verifier_matches(None, "pencil")


def test_judge() -> None:
    logins = list(roles.KEYS)
    assert roles.judge("roles-v1:x", logins, "roles-v1:x").state == "right"
    assert "passwords" in roles.judge("roles-v1:y", logins, "roles-v1:x").detail
    assert roles.judge("roles-v1:x", logins[1:], "roles-v1:x").detail == (
        "missing roles: scoreboard_owner"
    )


@pytest.mark.parametrize("bootstraps", ["true", "false"])
def test_member_configuration(
    image: tuple[ModuleType, ModuleType],
    bootstraps: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings, _ = image
    (tmp_path / "patroni.json").write_text(patroni.as_text(patroni.local(board())))
    for key in roles.KEYS.values():
        (tmp_path / f"{key}-password").write_text(f"secret-{key}\n")
    monkeypatch.setattr(settings, "SETTINGS", tmp_path / "patroni.json")
    monkeypatch.setattr(settings, "CREDENTIALS", tmp_path)
    env = {
        "SCOPE": "demo-db-0",
        "MEMBER": "demo-db-0-zone-b-0",
        "HOST": "demo-db-0-zone-b.demo.svc",
        "PRIORITY": "2",
        "BOOTSTRAPS": bootstraps,
    }
    document = settings.render(env)
    assert document["name"] == "demo-db-0-zone-b-0"
    assert document["tags"] == {"failover_priority": 2, "sync_priority": 2}
    assert ("bootstrap" in document) is (bootstraps == "true")
    assert document["restapi"]["authentication"]["password"] == "secret-operator"
    assert "password" not in document["postgresql"]["authentication"]["superuser"]
    assert document["postgresql"]["authentication"]["replication"]["sslmode"] == "verify-full"
    with pytest.raises(settings.SettingsError, match="HOST"):
        settings.render({**env, "HOST": ""})
    (tmp_path / "rewind-password").unlink()
    with pytest.raises(settings.SettingsError, match="rewind-password"):
        settings.render(env)
