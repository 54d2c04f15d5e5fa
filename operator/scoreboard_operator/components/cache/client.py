"""Talking to single cache nodes: one short TLS connection, a few commands, closed again.

A cluster client would follow redirections and hide nodes; the operator wants each node's own word.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection
from redis.exceptions import RedisError, ResponseError

from scoreboard_operator.components.base import Board, Snapshot
from scoreboard_operator.components.cache.layout import PORT, Node, pod_host, service_name

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 2.0

Command = tuple[str | int, ...]
Reply = Any
"""A string, a list or a :class:`ResponseError`, as the protocol has them."""


class NodeUnreachableError(ConnectionError):
    """A node could not be asked; the text says why, in a few words for people."""


class NodeRefusedError(NodeUnreachableError):
    """A node refused an operation: its state is another than the plan assumed."""


class _PodConnection(Connection):
    """A connection to a pod's address whose certificate must carry the pod's host name.

    The address is the API server's, so a pod is reached before DNS knows it.
    """

    def __init__(self, name: str, context: ssl.SSLContext | None, **settings: Any) -> None:
        super().__init__(**settings)
        self._name = name
        self._context = context

    def _connection_arguments(self) -> Mapping[str, Any]:
        arguments = dict(super()._connection_arguments())
        if self._context is not None:
            arguments |= {"ssl": self._context, "server_hostname": self._name}
        return arguments


@dataclass(frozen=True)
class Wire:
    """How to reach the nodes of one board; ``context`` None means without TLS (tests only)."""

    board: Board
    username: str | None
    password: str | None
    context: ssl.SSLContext | None

    async def ask(self, node: Node, commands: Sequence[Command]) -> list[Reply]:
        """Send the commands to a node in one go and return one reply each.

        A refused command's reply is its :class:`ResponseError`. Raises
        :class:`NodeUnreachableError` when the node cannot be asked at all.
        """
        host = pod_host(self.board, node.pod)
        connection = _PodConnection(
            host,
            self.context,
            host=node.ip or host,
            port=node.port,
            username=self.username,
            password=self.password,
            protocol=2,
            decode_responses=True,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            driver_info=None,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS + ANSWER_SECONDS):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_packed_command(connection.pack_commands(commands))
                return [await _reply(connection) for _ in commands]
        except (RedisError, OSError, TimeoutError) as error:
            raise NodeUnreachableError(_in_words(error)) from error
        finally:
            await connection.disconnect(nowait=True)

    async def command(self, node: Node, *command: str | int) -> Reply:
        """One command; raises :class:`ResponseError` when the node refuses it."""
        (reply,) = await self.ask(node, [command])
        if isinstance(reply, ResponseError):
            raise reply
        return reply


def wire(board: Board, snapshot: Snapshot) -> Wire | None:
    """The operator's own access, or None while its Secrets do not exist."""
    password = snapshot.secret_value(f"{service_name(board)}-credentials", "operator-password")
    authority = snapshot.secret_value(f"{board.name}-ca", "ca.crt")
    if password is None or authority is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=authority.decode())
    return Wire(board, "operator", password.decode().strip(), context)


async def _reply(connection: Connection) -> Reply:
    try:
        return await connection.read_response(disconnect_on_error=False)
    except ResponseError as error:
        return error


def _in_words(error: BaseException) -> str:
    """A connection error as one phrase without addresses of our own machine."""
    cause = error.__cause__ or error.__context__
    for candidate in (error, cause):
        if isinstance(candidate, ssl.SSLCertVerificationError):
            return f"certificate not accepted: {candidate.verify_message}"
        if isinstance(candidate, ConnectionRefusedError):
            return f"nothing listens on port {PORT} yet"
    if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
        return "does not answer in time"
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
