"""Condition of the gateway and the addresses it is reached at."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, ComponentStatus, Object, Snapshot
from scoreboard_operator.components.gateway.desired import certificate_trouble, workloads


def status(board: Board, snapshot: Snapshot, observed: Any) -> ComponentStatus:
    """Stalled while the named certificate is missing, ready when every zone has all its pods."""
    tables = {"endpoints": endpoints(board, snapshot)}
    trouble = certificate_trouble(board, snapshot)
    if trouble is not None:
        return ComponentStatus(
            ready=False,
            reason=trouble.reason,
            message=trouble.message,
            stalled=True,
            tables=tables,
        )
    waiting = build.waiting_message(snapshot, "Deployment", workloads(board))
    if waiting is not None:
        return ComponentStatus(ready=False, reason="WaitingForPods", message=waiting, tables=tables)
    pods = board.spec.gateway.replicas_per_zone * len(board.zones)
    message = f"{pods} of {pods} pods ready in {', '.join(board.zones)}"
    return ComponentStatus(ready=True, reason="Ready", message=message, tables=tables)


def endpoints(board: Board, snapshot: Snapshot) -> Object:
    """``gateway`` is the URL inside the cluster; ``nodePort`` and ``loadBalancer`` if there."""
    name = f"{board.name}-gateway"
    found: Object = {"gateway": f"https://{board.host(name)}:8443"}
    live = snapshot.get("Service", name) or {}
    for port in live.get("spec", {}).get("ports", []):
        if port.get("name") == "https" and port.get("nodePort"):
            found["nodePort"] = str(port["nodePort"])  # a table of texts
    ingress = live.get("status", {}).get("loadBalancer", {}).get("ingress") or []
    address = next((entry.get("hostname") or entry.get("ip") for entry in ingress), None)
    if address:
        found["loadBalancer"] = f"https://{address}:8443"
    return found
