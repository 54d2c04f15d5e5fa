"""A light client that plays on without a pause, retries once, and remembers what was lost."""

from __future__ import annotations

import itertools
import json
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Self

import httpx

from e2e.support.api import SCORES, Gateway, Player

PAUSE: Final = 0.15
"""Between two requests: far from every limit of the gateway."""

RETRY_AFTER: Final = 1.0
WRITES_PER_MINUTE: Final = 8
"""Of each player; ten are allowed."""


@dataclass
class Report:
    """What the client saw."""

    requests: int = 0
    retried: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)
    """User id -> sum of the changes that were acknowledged."""


class LightLoad:
    """Reads and writes through the gateway in a thread of its own, each retried at most once."""

    def __init__(self, gateway: Gateway, players: list[Player]) -> None:
        self.report = Report(accepted={player.id: 0 for player in players})
        # A connection of its own: what breaks must not be the tests' connection.
        self._gateway = Gateway(gateway.url, gateway.trust)
        self._players = players
        self._written: dict[str, list[float]] = {player.id: [] for player in players}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(30)
        self._gateway.http.close()

    def _run(self) -> None:
        turns = itertools.cycle([self._read_board, self._read_profile, self._read_score])
        for player in itertools.cycle(self._players):
            if self._stop.is_set():
                return
            try:
                next(turns)(player)
                if self._may_write(player):
                    self._write(player)
            except Exception as error:
                self.report.lost.append(f"the client itself failed: {error!r}")
            self._stop.wait(PAUSE)

    def _read_board(self, player: Player) -> None:
        self._once_again("leaderboard", "GET", "/api/v1/leaderboard?limit=10")

    def _read_profile(self, player: Player) -> None:
        self._once_again("profile", "GET", f"/api/v1/users/{player.id}", player.session.bearer)

    def _read_score(self, player: Player) -> None:
        if self._written[player.id]:
            path = f"/api/v1/users/{player.id}/score"
            self._once_again("score", "GET", path, player.session.bearer)

    def _may_write(self, player: Player) -> bool:
        recent = [at for at in self._written[player.id] if time.monotonic() - at < 62]
        self._written[player.id] = recent
        return len(recent) < WRITES_PER_MINUTE

    def _write(self, player: Player) -> None:
        body = json.dumps({"action_type": "default", "change": 1}).encode()
        key = f"load-{uuid.uuid4().hex}"
        self._written[player.id].append(time.monotonic())
        # Signed anew for the retry, as a client would; the key makes it the same write.
        answer = self._once_again(
            "write", "POST", SCORES, lambda: player.signed_headers(body, key=key), body
        )
        if answer is not None:
            self.report.accepted[player.id] += 1

    def _once_again(
        self,
        what: str,
        method: str,
        path: str,
        headers: dict[str, str] | Callable[[], dict[str, str]] | None = None,
        body: bytes | None = None,
    ) -> httpx.Response | None:
        """Send a request and, if it fails, once more; None when that failed too."""
        self.report.requests += 1
        what += f" at {datetime.now(UTC):%H:%M:%S.%f}"
        first = self._try(method, path, headers, body)
        if isinstance(first, httpx.Response):
            return first
        self.report.retried.append(f"{what}: {first}")
        time.sleep(RETRY_AFTER)
        second = self._try(method, path, headers, body)
        if isinstance(second, httpx.Response):
            return second
        self.report.lost.append(f"{what}: {first}, then {second}")
        return None

    def _try(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | Callable[[], dict[str, str]] | None,
        body: bytes | None,
    ) -> httpx.Response | str:
        sent = headers() if callable(headers) else headers
        try:
            answer = self._gateway.http.request(method, path, headers=sent, content=body)
        except httpx.TransportError as error:
            return repr(error)
        if answer.is_success:
            return answer
        return f"{answer.status_code} {answer.text}"
