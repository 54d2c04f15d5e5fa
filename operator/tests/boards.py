"""Boards and snapshots for tests of pure code."""

from __future__ import annotations

from typing import Any

from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import Board, ImageSet, Object, Snapshot

ZONES = ("zone-a", "zone-b", "zone-c")
IMAGES = ImageSet(
    scoreboard="scoreboard/scoreboard:1",
    postgres="scoreboard/postgres:1",
    kafka="scoreboard/kafka:1",
    redis="scoreboard/redis:1",
    envoy="scoreboard/envoy:1",
)


def board(spec: dict[str, Any] | None = None, zones: tuple[str, ...] = ZONES) -> Board:
    """A Board named demo in namespace demo."""
    return Board(
        name="demo",
        namespace="demo",
        uid="11111111-2222-3333-4444-555555555555",
        generation=3,
        spec=ScoreboardSpec.model_validate(spec or {}),
        zones=zones,
        images=IMAGES,
    )


def snapshot(*objects: Object) -> Snapshot:
    """A Snapshot of the given live objects."""
    return Snapshot({(o["kind"], o["metadata"]["name"]): o for o in objects})


def live_workload(desired: Object, *, ready: bool = True) -> Object:
    """A desired workload as the API server would show it, rolled out or not."""
    replicas = desired["spec"].get("replicas", 1)
    return {
        **desired,
        "metadata": {**desired["metadata"], "uid": "live", "generation": 1},
        "status": {
            "observedGeneration": 1,
            "replicas": replicas,
            "updatedReplicas": replicas,
            "readyReplicas": replicas if ready else 0,
            "currentRevision": "r1",
            "updateRevision": "r1",
        },
    }
