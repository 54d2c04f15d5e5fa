"""One client: what it subscribed to, what is to be sent, and the task that sends it.

What waits to be sent is, per channel, at most one snapshot (the answer to the newest subscription)
and one newest update, so a slow client skips states instead of queueing them, and its memory is
bounded by the number of channels.
"""

import asyncio
import time
from typing import Final, Protocol
from uuid import UUID

from scoreboard.notifications.models import Close

SEND_SECONDS: Final = 10.0
"""A client that takes one frame for longer than this is closed as too slow."""
MAX_ANSWERS: Final = 64
"""Direct answers (pongs, errors) that may wait; a client that asks faster is closed."""

MESSAGES_PER_SECOND: Final = 5.0
MESSAGES_AT_ONCE: Final = 20
"""A client may say so much at once, then so much a second: each message costs us a snapshot."""


class Socket(Protocol):
    """What a connection needs of a WebSocket."""

    async def send_text(self, data: str) -> None: ...

    async def close(self, code: int = 1000, reason: str | None = None) -> None: ...


class Connection:
    """The sending half of one client."""

    def __init__(self, socket: Socket, user_id: UUID, session_id: UUID) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self.top: int | None = None
        """Rows of the board it watches, or None."""
        self.shown_at = 0
        """The board's offset of its last snapshot."""
        self.rank = False
        self.users: tuple[UUID, ...] = ()
        self.last: dict[str, str] = {}
        """What was last put for rank and users, to push changes only."""
        self.closed_with: Close | None = None
        self._socket = socket
        self._snapshots: dict[str, str] = {}
        self._frames: dict[str, str] = {}
        self._answers: list[str] = []
        self._wake = asyncio.Event()
        self._closing: tuple[Close, str] | None = None
        self._allowance = float(MESSAGES_AT_ONCE)
        self._counted_at = time.monotonic()

    def may_speak(self) -> bool:
        """Count a message of the client; False, and closed, when there were too many."""
        now = time.monotonic()
        earned = (now - self._counted_at) * MESSAGES_PER_SECOND
        self._allowance = min(self._allowance + earned, float(MESSAGES_AT_ONCE))
        self._counted_at = now
        if self._allowance < 1:
            self.close(Close.TOO_MANY, "too many messages")
            return False
        self._allowance -= 1
        return True

    @property
    def pending(self) -> int:
        """Frames that wait to be sent."""
        return len(self._snapshots) + len(self._frames) + len(self._answers)

    def put(self, channel: str, frame: str) -> None:
        """Send the newest state of a channel, in place of one that still waits."""
        self._frames[channel] = frame
        self._wake.set()

    def begin(self, channel: str, snapshot: str) -> None:
        """Answer a subscription: its snapshot goes out before, and never instead of, an update."""
        self._frames.pop(channel, None)
        self._snapshots[channel] = snapshot
        self._wake.set()

    def answer(self, frame: str) -> None:
        """Send an answer to something the client asked."""
        if len(self._answers) >= MAX_ANSWERS:
            self.close(Close.TOO_MANY, "too many messages")
            return
        self._answers.append(frame)
        self._wake.set()

    def close(self, code: Close, reason: str) -> None:
        """Close after the answers that wait; the first reason given counts."""
        if self._closing is None:
            self._closing = (code, reason)
        self._wake.set()

    async def run(self) -> None:
        """Send until closed. Raises what the socket raises when the client is gone."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._flush()
            except TimeoutError:
                self._closing = (Close.TOO_SLOW, "too slow")
            if self._closing is not None:
                self.closed_with = self._closing[0]
                async with asyncio.timeout(SEND_SECONDS):
                    await self._socket.close(int(self._closing[0]), self._closing[1])
                return

    async def _flush(self) -> None:
        while self._answers or ((self._snapshots or self._frames) and self._closing is None):
            if self._answers:
                frame = self._answers.pop(0)
            else:
                waiting = self._snapshots or self._frames
                frame = waiting.pop(next(iter(waiting)))
            # Each frame has its own time: many that a client takes at its pace are not slow.
            async with asyncio.timeout(SEND_SECONDS):
                await self._socket.send_text(frame)
