"""Who may connect, and for how long."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
import structlog
from starlette.websockets import WebSocket

from scoreboard.kit import authn
from scoreboard.kit.health import Health
from scoreboard.kit.kafka_reader import Record
from scoreboard.kit.problems import PEER_ERRORS, Problem
from scoreboard.kit.sessions import SessionGate
from scoreboard.kit.tokens import Claims, TokenVerifier
from scoreboard.notifications import protocol
from scoreboard.notifications.hub import Hub

log = structlog.get_logger("scoreboard.notifications")

SOCKETS_OF_A_USER: Final = 10
"""Sockets one user may have open here: tabs and devices, but not a load of its own."""
RECHECK_SECONDS: Final = 30.0
"""Every socket's session is looked at again in this time, should its event be lost."""
DRAIN_SHARE: Final = 0.7
"""Part of the drain time over which clients are sent away; the rest is for the last frames."""


class _SessionEvent(msgspec.Struct):
    type: str
    user_id: UUID
    session_id: UUID | None = None
    session_ids: list[UUID] = []


class NotificationService:
    """Admission and revocation of sockets."""

    def __init__(
        self,
        hub: Hub,
        verifier: TokenVerifier,
        gate: SessionGate,
        health: Health,
        *,
        allowed_origins: Sequence[str],
        max_connections: int,
    ) -> None:
        self.hub = hub
        self._verifier = verifier
        self._gate = gate
        self._health = health
        self._allowed_origins = tuple(origin.rstrip("/").lower() for origin in allowed_origins)
        self._max_connections = max_connections

    async def admit(self, socket: WebSocket) -> Claims:
        """Check a handshake and return who connects.

        Raises Problem: unavailable (draining or full), forbidden (Origin), unauthenticated,
        token-expired, token-invalid, session-revoked, rate-limited (too many sockets); or a
        PEER_ERROR. The caller adds the socket to the hub before it awaits anything else, so that
        handshakes at the same time are counted.
        """
        if self._health.draining.is_set():
            raise Problem("unavailable", "This server is going away.", retry_after=1)
        if len(self.hub) >= self._max_connections:
            raise Problem("unavailable", "This server holds all the sockets it can.", retry_after=5)
        origin = socket.headers.get("origin")
        host = socket.headers.get("host", "")
        if not protocol.origin_allowed(origin, host, self._allowed_origins):
            raise Problem("forbidden", "Pages of this origin may not connect.")
        token = protocol.token_in(socket.scope.get("subprotocols", []))
        if token is None:
            token, from_cookie = authn.presented_token(socket)
            if from_cookie and origin is None:
                # A browser always sends it; without it the cookie proves nobody's intent.
                raise Problem("forbidden", "A connection with a cookie needs an Origin.")
        claims = self._verifier.verify(token)
        await self._gate.require_active(claims.user_id, claims.session_id)
        if self.hub.sockets_of(claims.user_id) >= SOCKETS_OF_A_USER:
            raise Problem("rate-limited", f"A user may open {SOCKETS_OF_A_USER} sockets.")
        return claims

    def on_user_action(self, record: Record) -> None:
        """Close the sockets of sessions that an event says are revoked."""
        try:
            event = msgspec.json.decode(record.value, type=_SessionEvent)
        except msgspec.MsgspecError as error:
            log.error("event passed over", offset=record.offset, error=str(error))
            return
        if event.type != "session.revoked":
            return
        revoked = list(event.session_ids)
        if event.session_id is not None:
            revoked.append(event.session_id)
        for session_id in revoked:
            closed = self.hub.close_session(session_id)
            if closed:
                log.info("sockets of a revoked session closed", sockets=closed)

    async def recheck(self) -> None:
        """Look at the session of every socket now and then; run it as a task."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            sessions = {c.session_id: c.user_id for c in self.hub.connections}
            for session_id, user_id in sessions.items():
                try:
                    await self._gate.require_active(user_id, session_id)
                except Problem:
                    self.hub.close_session(session_id)
                except PEER_ERRORS as error:
                    # Sockets stay while nobody can say; the next round will.
                    log.debug("session not checked", error=repr(error))

    async def drain_on_stop(self, seconds: float) -> None:
        """Wait for the process to be stopped and send the clients elsewhere; run it as a task."""
        await self._health.draining.wait()
        await self.hub.drain(seconds * DRAIN_SHARE)
