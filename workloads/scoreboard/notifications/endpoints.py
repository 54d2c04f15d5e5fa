"""The WebSocket route."""

import asyncio
import contextlib
from typing import Final

import structlog
from fastapi import APIRouter
from starlette.responses import Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from scoreboard.kit import problems
from scoreboard.kit.problems import Problem
from scoreboard.notifications import protocol
from scoreboard.notifications.connection import Connection
from scoreboard.notifications.models import SUBPROTOCOL, Close
from scoreboard.notifications.service import NotificationService

router = APIRouter()
log = structlog.get_logger("scoreboard.ws")

_CLOSE_OF: Final = {
    "forbidden": Close.FORBIDDEN_ORIGIN,
    "session-revoked": Close.SESSION_REVOKED,
    "rate-limited": Close.TOO_MANY,
    "unavailable": Close.GOING_AWAY,
}


@router.websocket("/api/v1/ws")
async def watch(socket: WebSocket) -> None:
    """Push boards and ranks to one client until either side ends it."""
    service: NotificationService = socket.app.state.resources.service
    offered = socket.scope.get("subprotocols", [])
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in offered else None
    try:
        claims = await service.admit(socket)
    except Exception as error:
        await _refuse(socket, problems.from_exception(error), subprotocol)
        return
    connection = Connection(socket, claims.user_id, claims.session_id)
    service.hub.add(connection)
    try:
        await socket.accept(subprotocol=subprotocol)
    except BaseException:
        service.hub.remove(connection)
        raise
    sender = asyncio.ensure_future(connection.run())
    reader = asyncio.ensure_future(_read(socket, service, connection))
    try:
        await asyncio.wait({sender, reader}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        service.hub.remove(connection)
        for task in (sender, reader):
            task.cancel()
        for outcome in await asyncio.gather(sender, reader, return_exceptions=True):
            _log_unusual(outcome)
        if connection.closed_with is None:
            with contextlib.suppress(RuntimeError, OSError, WebSocketDisconnect):
                if socket.application_state is WebSocketState.CONNECTED:
                    await socket.close()


async def _read(socket: WebSocket, service: NotificationService, connection: Connection) -> None:
    while True:
        message = await socket.receive()
        if message["type"] != "websocket.receive":
            return
        text = message.get("text")
        if text is None:
            connection.close(Close.BAD_MESSAGE, "text frames only")
            continue
        service.hub.receive(connection, text)


async def _refuse(socket: WebSocket, problem: Problem, subprotocol: str | None) -> None:
    """Refuse a handshake so that the client can tell why.

    A browser does not show a page the status of a refused handshake, so one that speaks our
    subprotocol is accepted and closed with a code; any other client gets the problem document.
    """
    if subprotocol is not None:
        await socket.accept(subprotocol=subprotocol)
        await socket.send_text(protocol.error_frame(problem.code, problem.detail))
        code = _CLOSE_OF.get(problem.code, Close.UNAUTHENTICATED)
        await socket.close(int(code), problem.code)
        return
    request_id = str(socket.scope.get("request_id", ""))
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        answer: Response = problems.response_of(problem, request_id)
        await socket.send_denial_response(answer)
    else:
        await socket.close()


def _log_unusual(outcome: object) -> None:
    expected = (asyncio.CancelledError, WebSocketDisconnect, OSError, RuntimeError, TimeoutError)
    if isinstance(outcome, Exception) and not isinstance(outcome, expected):
        log.error("socket failed", exc_info=outcome)
