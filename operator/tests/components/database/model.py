"""A running database as the API server would show it, for tests of pure code."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from boards import live_workload

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.database import migrations, names, patroni
from scoreboard_operator.components.database.desired import desired, member_workload
from scoreboard_operator.components.database.observe import Observed, from_records, with_answer
from scoreboard_operator.components.database.roles import RoleState

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=1)


class Running:
    """All shards up, led from the first zone, schema newest; change it, then take ``snapshot``."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.objects: dict[tuple[str, str], Object] = {}
        for item in desired(board, Snapshot()):
            live = live_workload(item) if item["kind"] == "StatefulSet" else item
            self.put(live)
        for shard in names.shards(board):
            self._shard(shard)

    def _shard(self, shard: int) -> None:
        members = names.members(self.board, shard)
        for member in members:
            self.pod(member.name, leads=member is members[0])
        self.lead(shard, members[0].name)
        self.put(self._job(shard))

    def _job(self, shard: int) -> Object:
        return {
            "kind": "Job",
            "metadata": {"name": migrations.job_name(self.board, shard)},
            "status": {"conditions": [{"type": "Complete", "status": "True"}]},
        }

    def put(self, live: Object) -> None:
        """Add or replace an object."""
        self.objects[(live["kind"], live["metadata"]["name"])] = live

    def remove(self, kind: str, name: str) -> None:
        """Take an object away."""
        del self.objects[(kind, name)]

    def get(self, kind: str, name: str) -> Any:
        """The object, to be changed in place."""
        return self.objects[(kind, name)]

    def lead(self, shard: int, pod: str, *, since: datetime = LONG_AGO) -> None:
        """Write Patroni's records for a leader; other members are its synchronous candidates."""
        scope = names.scope(self.board, shard)
        others = [m.name for m in names.members(self.board, shard) if m.name != pod]
        self._map(f"{scope}-leader", {"leader": pod, "acquireTime": since.isoformat()})
        self._map(f"{scope}-sync", {"leader": pod, "sync_standby": ",".join(others)})
        config = patroni.as_text(patroni.dynamic(self.board))
        history = json.dumps([[1, 100, "no recovery target specified", since.isoformat(), pod]])
        notes = {"initialize": "7", "config": config, "history": history}
        self._map(f"{scope}-config", notes)

    def _map(self, name: str, notes: dict[str, str]) -> None:
        self.put({"kind": "ConfigMap", "metadata": {"name": name, "annotations": notes}})

    def pod(self, name: str, *, leads: bool = False, ready: bool = True, **notes: Any) -> None:
        """A member's pod; ``notes`` are added to Patroni's own."""
        member = next(m for m in names.all_members(self.board) if m.name == name)
        state = {
            "state": "running",
            "role": "primary" if leads else "replica",
            "timeline": 2,
            "xlog_location": 1000,
            **({} if leads else {"replication_state": "streaming"}),
            **notes,
        }
        labels = names.pod_labels(self.board, member)
        self.put(
            {
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "labels": labels | {names.ROLE_LABEL: "primary" if leads else "replica"},
                    "annotations": {"status": json.dumps(state)},
                },
                "status": {
                    "conditions": [
                        {
                            "type": "Ready",
                            "status": "True" if ready else "False",
                            "lastTransitionTime": LONG_AGO.isoformat(),
                        }
                    ],
                    "containerStatuses": [],
                },
            }
        )

    def down(self, name: str) -> None:
        """A member that is not ready, with its old labels and records."""
        pod = self.get("Pod", name)
        pod["status"]["conditions"][0]["status"] = "False"
        workload = self.get("StatefulSet", name.removesuffix("-0"))
        workload["status"]["readyReplicas"] = 0

    def update(self, board: Board, *workloads: str) -> None:
        """Give some members the pod template of another board."""
        for member in names.all_members(board):
            if member.workload in workloads:
                self.put(live_workload(member_workload(board, member)))

    @property
    def snapshot(self) -> Snapshot:
        """What the API server holds."""
        return Snapshot(dict(self.objects))

    def observed(self, *, roles: str = "right") -> Observed:
        """What observe returns while every leader answers and everyone streams who is ready."""
        shards = []
        for index in names.shards(self.board):
            shard = from_records(self.board, self.snapshot, index)
            rows = [
                {"application_name": m.member.name, "state": "streaming"}
                for m in shard.replicas
                if m.ready
            ]
            answer = {"role": "primary", "timeline": 2, "replication": rows}
            leading = shard.leading
            if leading is not None and leading.ready:
                shard = with_answer(shard, answer)
            shards.append(replace(shard, roles=RoleState(roles, "passwords differ")))
        return Observed(tuple(shards), NOW)


class Recorder:
    """An Access that remembers what was asked of the API server."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    async def patch(self, kind: str, name: str, patch: Object) -> None:
        """Remember a patch."""
        self.calls.append(("patch", kind, name, patch))

    async def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> None:
        """Remember a deletion."""
        self.calls.append(("delete", kind, name))
