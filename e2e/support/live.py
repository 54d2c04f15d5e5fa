"""One open WebSocket at the gateway, read in the background."""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Frame = dict[str, Any]


class Socket:
    """Subscribes, collects every frame, and waits for the one a test is looking for."""

    def __init__(self, url: str, trust: ssl.SSLContext, access_token: str) -> None:
        address = url.replace("https://", "wss://", 1) + "/api/v1/ws"
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(
            connect(
                address,
                ssl=trust,
                additional_headers={"Authorization": f"Bearer {access_token}"},
                open_timeout=15,
                proxy=None,
            )
        )
        self.frames: list[Frame] = []
        self.closed: str = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def subscribe(self, channel: str, **options: Any) -> None:
        """Ask for a channel."""
        self.send({"type": "subscribe", "id": channel, "channel": channel, **options})

    def send(self, frame: Frame) -> None:
        """Send one frame."""
        self._socket.send(json.dumps(frame))

    def wait_for(
        self, matches: Callable[[Frame], bool], what: str, *, limit: float = 20, since: int = 0
    ) -> Frame:
        """The first frame from index ``since`` on that matches; AssertionError after ``limit``."""
        deadline = time.monotonic() + limit
        with self._news:
            while True:
                found = next((frame for frame in self.frames[since:] if matches(frame)), None)
                if found is not None:
                    return found
                left = deadline - time.monotonic()
                assert left > 0, f"{what}: no such frame in {limit:.0f} s, {self._account()}"
                assert not self.closed, f"{what}: closed ({self.closed}), {self._account()}"
                self._news.wait(left)

    def _account(self) -> str:
        seen = [frame.get("type") for frame in self.frames]
        return f"{len(seen)} frames seen: {seen[-10:]} last {str(self.frames[-1:])[:600]}"

    def _read(self) -> None:
        try:
            for text in self._socket:
                with self._news:
                    self.frames.append(json.loads(text))
                    self._news.notify_all()
        except ConnectionClosed as error:
            self.closed = str(error)
        self.closed = self.closed or "by the server"
        with self._news:
            self._news.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()
        self._reader.join(5)
