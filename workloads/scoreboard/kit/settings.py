"""Settings of a service process: the environment and the files below CONFIG_DIR.

What identifies the process (names, zone, peers) is environment, read once. What rotates
(certificates, passwords, keys, the shard map, rules) is a file, read through `WatchedFile`,
which notices a new version within about a second and needs no restart.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger("scoreboard.settings")

POLL_SECONDS = 1.0
"""How often a watched file is looked at, at most."""


class SettingsError(RuntimeError):
    """A setting or a file the process cannot start without is missing or malformed."""


class WatchedFile(Generic[T]):
    """A parsed file that is read again when it changes.

    `get` costs one clock read on most calls and one `stat` a second. A Secret or ConfigMap
    volume swaps a symlink, so the change shows as another inode behind the same path. New
    content that does not parse is logged once and the last good value stays in use.
    """

    def __init__(
        self,
        path: Path,
        parse: Callable[[bytes], T],
        *,
        poll_seconds: float = POLL_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._parse = parse
        self._poll = poll_seconds
        self._clock = clock
        self._next_look = float("-inf")
        self._seen: tuple[int, int, int] | None = None
        self._value: T | None = None
        self.generation = 0
        """Counts successful loads; differs from a remembered number when the value changed."""

    def get(self) -> T:
        """Return the newest good value.

        Raises SettingsError when no good version was ever read.
        """
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + self._poll
            self._look()
        if self._value is None:
            self._next_look = float("-inf")  # nothing to fall back on: look again at once
            raise SettingsError(f"{self.path} is missing or cannot be read")
        return self._value

    def _look(self) -> None:
        try:
            stat = self.path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            value = self._parse(self.path.read_bytes())
        except FileNotFoundError:
            return  # between two versions, or not mounted yet; the last value stays
        except (OSError, ValueError, KeyError, TypeError) as error:
            # The message may quote file content, which may be a secret: log the kind only.
            log.error("file unreadable", path=str(self.path), error=type(error).__name__)
            return
        self._seen = seen
        self._value = value
        self.generation += 1


def _text(raw: bytes) -> str:
    value = raw.decode().strip()
    if not value:
        raise ValueError("empty")
    return value


@dataclass(frozen=True)
class Settings:
    """What one service process knows about itself. Build it with `Settings.from_env`."""

    service: str
    """score, user or notification; also its name towards PostgreSQL, Redis and Kafka."""
    scoreboard: str = "demo"
    namespace: str = "demo"
    zone: str = "zone-a"
    pod: str = "local"
    version: str = "0.1.0"
    kafka_bootstrap: str = ""
    cache_nodes: tuple[tuple[str, int], ...] = ()
    config_dir: Path = Path("/etc/scoreboard")
    log_level: str = "INFO"
    host: str = "0.0.0.0"  # noqa: S104  a pod listens on its pod address, whatever that is
    port: int = 8443
    metrics_port: int = 9100
    trusted_hops: int = 1
    """Proxies in front that append to X-Forwarded-For (the gateway; 2 with an edge cache)."""
    drain_seconds: float = 4.0
    """From SIGTERM to closing the listener, so that endpoints leave load balancers first."""
    grace_seconds: int = 20
    """Longest wait for requests in flight after the listener closed."""
    extra: Mapping[str, str] = field(default_factory=dict)
    """The whole environment, for settings that only one service has."""

    @classmethod
    def from_env(cls, service: str, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment.

        Raises SettingsError naming the variable that does not parse.
        """
        env = os.environ if environ is None else environ
        default = cls(service)
        return cls(
            service=service,
            scoreboard=env.get("SCOREBOARD_NAME", default.scoreboard),
            namespace=env.get("SCOREBOARD_NAMESPACE", default.namespace),
            zone=env.get("SCOREBOARD_ZONE", default.zone),
            pod=env.get("POD_NAME", default.pod),
            version=env.get("SCOREBOARD_VERSION", default.version),
            kafka_bootstrap=env.get("KAFKA_BOOTSTRAP", ""),
            cache_nodes=parse_nodes("CACHE_NODES", env.get("CACHE_NODES", "")),
            config_dir=Path(env.get("CONFIG_DIR", str(default.config_dir))),
            log_level=env.get("LOG_LEVEL", default.log_level).upper(),
            host=env.get("LISTEN_HOST", default.host),
            port=int(_number(env, "LISTEN_PORT", default.port)),
            metrics_port=int(_number(env, "METRICS_PORT", default.metrics_port)),
            trusted_hops=int(_number(env, "TRUSTED_HOPS", default.trusted_hops)),
            drain_seconds=_number(env, "DRAIN_SECONDS", default.drain_seconds),
            grace_seconds=int(_number(env, "GRACE_SECONDS", default.grace_seconds)),
            extra=dict(env),
        )

    def number(self, name: str, default: float) -> float:
        """Return a service's own numeric setting from the environment."""
        return _number(self.extra, name, default)

    @property
    def tls_dir(self) -> Path:
        """Directory of tls.crt, tls.key and ca.crt."""
        return self.config_dir / "tls"

    def file(self, relative: str, parse: Callable[[bytes], T]) -> WatchedFile[T]:
        """Return a watched, parsed file below CONFIG_DIR."""
        return WatchedFile(self.config_dir / relative, parse)

    def credential(self, key: str) -> WatchedFile[str]:
        """Return a watched password: database-password, kafka-password or cache-password."""
        return self.file(f"credentials/{key}", _text)


def parse_nodes(name: str, text: str) -> tuple[tuple[str, int], ...]:
    """Parse a comma list of host:port (IPv6 hosts in brackets); empty text is an empty list."""
    nodes = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        host, _, port = item.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise SettingsError(f"{name}: {item!r} is not host:port")
        nodes.append((host.strip("[]"), int(port)))
    return tuple(nodes)


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise SettingsError(f"{name}: {text!r} is not a number") from None
