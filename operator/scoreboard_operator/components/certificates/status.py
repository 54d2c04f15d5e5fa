"""The CertificatesReady condition. (Pure.)"""

from __future__ import annotations

from scoreboard_operator.components.base import Board, ComponentStatus, Snapshot
from scoreboard_operator.components.certificates import inventory


def status(board: Board, snapshot: Snapshot, observed: None) -> ComponentStatus:
    """Ready when every Secret exists; desired() keeps their content sound."""
    wanted = [f"{board.name}-{leaf.component}-tls" for leaf in inventory.leaves(board)]
    wanted += inventory.retained_names(board)
    missing = [name for name in wanted if snapshot.get("Secret", name) is None]
    if missing:
        return ComponentStatus(False, "Issuing", f"waiting for Secret {missing[0]} to be written")
    return ComponentStatus(True, "Ready", f"{len(wanted)} Secrets are in place")
