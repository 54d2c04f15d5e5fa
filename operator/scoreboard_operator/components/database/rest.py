"""Patroni's REST API as the operator uses it: verified TLS, a password, short time-outs."""

from __future__ import annotations

import ssl
from functools import lru_cache
from typing import Any

import aiohttp

from scoreboard_operator.components.base import Board, Snapshot
from scoreboard_operator.components.database import names
from scoreboard_operator.components.database.roles import password

USER = "scoreboard_operator"
ASK_SECONDS = 2.0


class RefusedError(OSError):
    """Patroni answered that it will not do what was asked; the text is its reason."""


def trust(board: Board, snapshot: Snapshot) -> ssl.SSLContext | None:
    """TLS settings that accept only the board's own CA; None while there is no CA yet."""
    for secret in (f"{board.name}-operator-tls", f"{board.name}-db-tls"):
        authority = snapshot.secret_value(secret, "ca.crt")
        if authority:
            return _context(authority.decode())
    return None


@lru_cache(maxsize=64)
def _context(authority: str) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority)


async def ask(session: aiohttp.ClientSession, host: str, path: str) -> dict[str, Any] | None:
    """The JSON a member answers on a read-only path, whatever the status; None when it does not."""
    try:
        async with session.get(_url(host, path)) as response:
            answer = await response.json(content_type=None)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None
    return answer if isinstance(answer, dict) else None


def session(context: ssl.SSLContext) -> aiohttp.ClientSession:
    """A session for read-only questions."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=32),
        timeout=aiohttp.ClientTimeout(total=ASK_SECONDS),
    )


async def tell(
    board: Board, snapshot: Snapshot, host: str, path: str, body: dict[str, Any], seconds: float
) -> None:
    """Ask a member to do something; raises RefusedError, or aiohttp's and time-out errors.

    Two answers are passed over. A refused password: the member's copy of a changed Secret follows
    within a minute or two, and the operator asks again then. A restart that is no longer waiting:
    the record that said so was older than what the member did since.
    """
    context = trust(board, snapshot)
    secret = password(board, snapshot, "operator")
    if context is None or secret is None:
        return
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            timeout=aiohttp.ClientTimeout(total=seconds, connect=ASK_SECONDS),
            headers={"Authorization": aiohttp.encode_basic_auth(USER, secret)},
        ) as http,
        http.post(_url(host, path), json=body) as response,
    ):
        text = (await response.text()).strip()
        if response.status == 401 or "restart conditions are not satisfied" in text:
            return
        if response.status >= 400:
            raise RefusedError(f"{host}{path}: {response.status} {text[:200]}")


def _url(host: str, path: str) -> str:
    return f"https://{host}:{names.PATRONI_PORT}{path}"
