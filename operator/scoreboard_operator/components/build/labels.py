"""Names and labels: the recommended Kubernetes labels plus zone and shard."""

from __future__ import annotations

from scoreboard_operator.api import BOARD_LABEL, MANAGED_BY
from scoreboard_operator.components.base import Board, Object

ZONE = "scoreboard.dev/zone"
SHARD = "scoreboard.dev/shard"
RETAIN_ANNOTATION = "scoreboard.dev/retain"
"""On objects that outlive the Scoreboard under ``deletionPolicy: Retain`` (keys, passwords)."""


def labels(
    board: Board,
    component: str,
    software: str,
    *,
    version: str,
    zone: str | None = None,
    shard: int | None = None,
) -> dict[str, str]:
    """Full label set of an object or pod.

    ``software`` is what runs (``postgresql``, ``kafka`` …), ``version`` its version or image tag.
    """
    return selector(board, component, zone=zone, shard=shard) | {
        "app.kubernetes.io/name": software,
        "app.kubernetes.io/part-of": "scoreboard",
        "app.kubernetes.io/managed-by": MANAGED_BY,
        "app.kubernetes.io/version": version,
        BOARD_LABEL: board.name,
    }


def selector(
    board: Board, component: str, *, zone: str | None = None, shard: int | None = None
) -> dict[str, str]:
    """The part of the labels that never changes, for selectors (which are immutable)."""
    chosen = {
        "app.kubernetes.io/instance": board.name,
        "app.kubernetes.io/component": component,
    }
    if zone is not None:
        chosen[ZONE] = zone
    if shard is not None:
        chosen[SHARD] = str(shard)
    return chosen


def metadata(
    board: Board, name: str, label_set: dict[str, str], annotations: dict[str, str] | None = None
) -> Object:
    """Object metadata in the board's namespace; the loop adds the owner reference."""
    meta: Object = {"name": name, "namespace": board.namespace, "labels": label_set}
    if annotations:
        meta["annotations"] = annotations
    return meta


def image_version(reference: str) -> str:
    """Label-safe version of an image reference: its tag, or a short digest."""
    tail = reference.rsplit("/", 1)[-1]
    if "@" in tail:
        return tail.rsplit(":", 1)[-1][:12]
    return (tail.rsplit(":", 1)[1] if ":" in tail else "latest")[:63].strip("-._") or "latest"
