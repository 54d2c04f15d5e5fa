"""Kubernetes Events, written on transitions only."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime

from scoreboard_operator.api import API_VERSION, KIND
from scoreboard_operator.kube.client import ApiError, KubeClient, Object


async def emit(
    client: KubeClient, board: Object, reason: str, message: str, *, warning: bool
) -> None:
    """Write one Event about a Scoreboard; a refused Event is not worth failing a pass for."""
    meta = board["metadata"]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    event: Object = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{meta['name']}.{secrets.token_hex(8)}",
            "namespace": meta["namespace"],
        },
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": meta["name"],
            "namespace": meta["namespace"],
            "uid": meta["uid"],
        },
        "reason": reason,
        "message": message[:1000],
        "type": "Warning" if warning else "Normal",
        "source": {"component": "scoreboard-operator"},
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
    try:
        await client.create("Event", meta["namespace"], event)
    except ApiError as error:
        if error.status not in (403, 404, 409):
            raise
