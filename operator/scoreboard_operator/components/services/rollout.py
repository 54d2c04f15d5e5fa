"""What an update of a service waits for besides its turn: the schema its image needs. (Pure.)"""

from __future__ import annotations

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.database import migrations, names


def gate(board: Board, snapshot: Snapshot, workload: Object) -> str | None:
    """Why a pod with a new image may not start yet, or None.

    Migrations only expand the schema, so pods of the old image run on beside the new schema, but
    pods of the new image need it.
    """
    live = snapshot.get(workload["kind"], workload["metadata"]["name"])
    if live is None or _image(live) == _image(workload):
        return None
    for shard in names.shards(board):
        migration = migrations.state(board, snapshot, shard)
        if migration.state != "done":
            return f"schema first: {migration.job} is {migration.state}"
    return None


def _image(workload: Object) -> str:
    return str(workload["spec"]["template"]["spec"]["containers"][0]["image"])
