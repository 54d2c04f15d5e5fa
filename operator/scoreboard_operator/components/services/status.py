"""Condition of one service."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, ComponentStatus, Snapshot
from scoreboard_operator.components.services.definition import Definition
from scoreboard_operator.components.services.desired import settings, workloads


def status(
    definition: Definition, board: Board, snapshot: Snapshot, observed: Any
) -> ComponentStatus:
    """Ready when every zone has all its pods, current and ready."""
    waiting = build.waiting_message(snapshot, "Deployment", workloads(definition, board))
    if waiting is not None:
        return ComponentStatus(ready=False, reason="WaitingForPods", message=waiting)
    pods = settings(definition, board).replicas_per_zone * len(board.zones)
    message = f"{pods} of {pods} pods ready in {', '.join(board.zones)}"
    return ComponentStatus(ready=True, reason="Ready", message=message)
