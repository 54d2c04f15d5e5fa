"""Who may open a socket."""

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from scoreboard.kit.health import Health
from scoreboard.kit.problems import Problem
from scoreboard.notifications.endpoints import _CLOSE_OF
from scoreboard.notifications.service import SOCKETS_OF_A_USER, NotificationService

USER = uuid.UUID(int=1)


class FakeHub:
    open = 0

    def __len__(self) -> int:
        return self.open

    def sockets_of(self, _: uuid.UUID) -> int:
        return self.open


class FakeGate:
    async def require_active(self, *_: Any) -> None:
        return None


async def test_a_user_may_open_so_many_sockets_and_no_more() -> None:
    claims = SimpleNamespace(user_id=USER, session_id=uuid.uuid4())
    hub = FakeHub()
    service = NotificationService(
        hub,  # type: ignore[arg-type]
        SimpleNamespace(verify=lambda _: claims),  # type: ignore[arg-type]
        FakeGate(),  # type: ignore[arg-type]
        Health(),
        allowed_origins=[],
        max_connections=100,
    )
    socket: Any = SimpleNamespace(headers={}, scope={"subprotocols": ["scoreboard.v1", "bearer.t"]})
    hub.open = SOCKETS_OF_A_USER - 1
    assert await service.admit(socket) is claims
    hub.open = SOCKETS_OF_A_USER
    with pytest.raises(Problem) as caught:
        await service.admit(socket)
    assert (caught.value.code, _CLOSE_OF[caught.value.code]) == ("rate-limited", 4429)
