import os
from pathlib import Path

import pytest

from scoreboard.kit.settings import Settings, SettingsError, WatchedFile, parse_nodes


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_defaults_stand_where_the_environment_is_silent() -> None:
    settings = Settings.from_env("user", {})
    assert settings == Settings("user")
    assert settings.tls_dir == Path("/etc/scoreboard/tls")


def test_the_environment_is_read() -> None:
    env = {
        "SCOREBOARD_ZONE": "zone-b",
        "CACHE_NODES": "a.demo.svc:6379, [::1]:6380",
        "SESSION_LIMIT": "3",
    }
    settings = Settings.from_env("user", env)
    assert settings.zone == "zone-b"
    assert settings.cache_nodes == (("a.demo.svc", 6379), ("::1", 6380))
    assert settings.number("SESSION_LIMIT", 10) == 3
    assert settings.number("OTHER", 10) == 10


@pytest.mark.parametrize("text", ["host", "host:", ":1", "host:0", "host:65536", "host:x", "h:²"])
def test_bad_nodes_are_named(text: str) -> None:
    with pytest.raises(SettingsError, match="CACHE_NODES"):
        parse_nodes("CACHE_NODES", text)


def test_a_bad_number_is_named() -> None:
    with pytest.raises(SettingsError, match="LISTEN_PORT"):
        Settings.from_env("user", {"LISTEN_PORT": "many"})


def test_a_watched_file_follows_changes_and_survives_bad_ones(tmp_path: Path) -> None:
    clock = Clock()
    path = tmp_path / "value"
    watched = WatchedFile(path, int, poll_seconds=1.0, clock=clock)
    with pytest.raises(SettingsError):
        watched.get()
    path.write_text("1")
    assert watched.get() == 1, "a file that was missing is looked for at once"

    replace(path, "2")
    assert watched.get() == 1, "not looked at again within the poll time"
    clock.now += 1.0
    assert (watched.get(), watched.generation) == (2, 2)

    replace(path, "not a number")
    clock.now += 1.0
    assert (watched.get(), watched.generation) == (2, 2)
    path.unlink()
    clock.now += 1.0
    assert watched.get() == 2


def replace(path: Path, text: str) -> None:
    """Put new content behind the same path, as kubelet does, even with equal size and time."""
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    os.utime(fresh, (1, 1))
    fresh.rename(path)
