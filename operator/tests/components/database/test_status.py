"""Condition and table for given snapshots."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from boards import board

from scoreboard_operator.components.base import ComponentStatus, Snapshot
from scoreboard_operator.components.database import COMPONENT, migrations, names
from scoreboard_operator.components.database.observe import Observed, from_records
from scoreboard_operator.components.database.status import status

from .model import NOW, Running


def judged(running: Running, **kw: Any) -> ComponentStatus:
    return status(running.board, running.snapshot, running.observed(**kw))


@pytest.fixture
def running() -> Running:
    return Running(board({"database": {"shards": 2}}))


def test_component() -> None:
    assert COMPONENT.name == "database"
    assert COMPONENT.condition == "DatabaseReady"
    assert COMPONENT.after == ("CertificatesReady",)


def test_ready(running: Running) -> None:
    found = judged(running)
    assert (found.ready, found.reason) == (True, "Ready")
    assert found.message == "2 shards lead from zone-a, 4 replicas stream"
    assert found.tables["shards"][0] == {
        "index": 0,
        "primary": "demo-db-0-zone-a-0",
        "zone": "zone-a",
        "timeline": 2,
        "lagBytes": 0,
        "replicas": "2/2",
        "synchronous": "demo-db-0-zone-b,demo-db-0-zone-c",
    }


def test_nothing_there_yet() -> None:
    b = board({"database": {"shards": 1}})
    observed = Observed((from_records(b, Snapshot(), 0),), NOW)
    found = status(b, Snapshot(), observed)
    assert (found.ready, found.reason) == (False, "WaitingForLeader")
    assert "shard 0: no leader yet (demo-db-0-zone-a-0 in zone zone-a: no pod yet)" in found.message
    assert found.tables["shards"][0]["replicas"] == "0/2"


def test_missing_replica_is_named_with_pod_zone_and_cause(running: Running) -> None:
    running.down("demo-db-1-zone-c-0")
    pod = running.get("Pod", "demo-db-1-zone-c-0")
    pod["status"]["containerStatuses"] = [
        {"name": "postgres", "state": {"waiting": {"reason": "ImagePullBackOff"}}}
    ]
    found = judged(running)
    assert (found.ready, found.reason) == (False, "Degraded")
    assert found.message == (
        "shard 1: demo-db-1-zone-c-0 in zone zone-c: postgres: ImagePullBackOff"
    )
    assert found.tables["shards"][1]["replicas"] == "1/2"


def test_dead_leader(running: Running) -> None:
    running.down("demo-db-0-zone-a-0")
    found = judged(running)
    assert (found.ready, found.reason) == (False, "WaitingForLeader")
    assert "demo-db-0-zone-a-0 leads but is not ready" in found.message


def test_cloning_replica_says_so(running: Running) -> None:
    running.pod("demo-db-0-zone-b-0", ready=False, state="creating replica", replication_state="")
    running.remove("Job", migrations.job_name(running.board, 0))
    found = judged(running)
    assert found.reason == "WaitingForMembers"
    assert "demo-db-0-zone-b-0 in zone zone-b: PostgreSQL: creating replica" in found.message


def test_migration_must_be_done_on_every_shard(running: Running) -> None:
    name = migrations.job_name(running.board, 1)
    running.put({"kind": "Job", "metadata": {"name": name}, "status": {"active": 1}})
    found = judged(running)
    assert (found.ready, found.reason) == (False, "MigrationsRunning")
    assert found.message == f"shard 1: {name} is running"


def test_failed_migration_tells_its_last_words(running: Running) -> None:
    name = migrations.job_name(running.board, 1)
    failed = (NOW - timedelta(seconds=5)).isoformat()
    condition = {
        "type": "Failed",
        "status": "True",
        "lastTransitionTime": failed,
        "message": "Job has reached the specified backoff limit",
    }
    running.put({"kind": "Job", "metadata": {"name": name}, "status": {"conditions": [condition]}})
    line = "waiting\nscoreboard-migrate: error: roles do not exist yet: analytics\n"
    ended = {"name": "migrate", "state": {"terminated": {"exitCode": 5, "message": line}}}
    labels = {"batch.kubernetes.io/job-name": name}
    running.put(
        {
            "kind": "Pod",
            "metadata": {"name": f"{name}-x", "labels": labels, "creationTimestamp": failed},
            "status": {"containerStatuses": [ended]},
        }
    )
    found = judged(running)
    assert found.reason == "MigrationFailed"
    assert found.message == f"shard 1: {name}: roles do not exist yet: analytics"


def test_wrong_roles(running: Running) -> None:
    found = judged(running, roles="wrong")
    assert (found.ready, found.reason) == (False, "WaitingForRoles")
    assert judged(running, roles="unknown").ready is True


def test_a_member_being_replaced_is_not_ready(running: Running) -> None:
    workload = running.get("StatefulSet", "demo-db-0-zone-c")
    workload["status"] |= {"updateRevision": "r2", "updatedReplicas": 0}
    found = judged(running)
    assert (found.ready, found.reason) == (False, "Degraded")
    assert "demo-db-0-zone-c-0 is being replaced" in found.message


@pytest.mark.parametrize(
    ("lag", "told"), [(900_000, 0), (1024 * 1024, 1024 * 1024), (5 * 1024 * 1024, 8 * 1024 * 1024)]
)
def test_lag_is_rounded(running: Running, lag: int, told: int) -> None:
    running.pod("demo-db-0-zone-c-0", xlog_location=1000)
    running.pod("demo-db-0-zone-a-0", leads=True, xlog_location=1000 + lag)
    running.pod("demo-db-0-zone-b-0", xlog_location=1000 + lag)
    assert judged(running).tables["shards"][0]["lagBytes"] == told


def test_a_leader_that_misses_one_question_changes_nothing(running: Running) -> None:
    """Patroni's records tell the same, and they do not depend on the answer of the moment."""
    silent = Observed(
        tuple(
            from_records(running.board, running.snapshot, s) for s in names.shards(running.board)
        ),
        NOW,
    )
    assert not any(shard.answered for shard in silent.shards)
    said = status(running.board, running.snapshot, silent)
    assert said == status(running.board, running.snapshot, running.observed())
    assert said.ready
