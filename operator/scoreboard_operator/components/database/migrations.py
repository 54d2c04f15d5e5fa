"""Migration Jobs: one per shard and version of the scoreboard image (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build import (
    container,
    empty_dir,
    image_version,
    labels,
    metadata,
    pod_spec,
    pod_trouble,
    secret_volume,
)
from scoreboard_operator.components.database import names

COMPONENT = "migrations"
"""Component label of the Jobs' pods: not ``database``, whose budgets and Services count pods."""

RETRY_AFTER = timedelta(seconds=60)
"""Pause between a Job that gave up and the next one; the Job itself retries with back-off."""

_ATTEMPTS = 3
_WAIT_SECONDS = 120


@dataclass(frozen=True)
class MigrationState:
    """Where a shard's migration stands.

    ``state`` is ``absent``, ``running``, ``done`` or ``failed``; ``detail`` is the last line of a
    failed attempt; ``failed_at`` is when the Job gave up.
    """

    job: str
    state: str
    detail: str = ""
    failed_at: datetime | None = None


def job_name(board: Board, shard: int) -> str:
    """Name of the shard's Job; its hash covers what the Job runs, since Jobs are immutable."""
    text = json.dumps(_template(board, shard)["spec"], sort_keys=True)
    return f"{board.name}-migrate-{shard}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def jobs(board: Board, snapshot: Snapshot, led: set[int]) -> Iterator[Object]:
    """Jobs of the current version, for the shards in ``led`` and where one exists already.

    A Job never goes away by itself (no ttl): the loop would only make it again.
    """
    for shard in names.shards(board):
        name = job_name(board, shard)
        if shard in led or snapshot.get("Job", name) is not None:
            yield {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "metadata": metadata(board, name, _labels(board, shard)),
                "spec": {
                    "backoffLimit": _ATTEMPTS,
                    "activeDeadlineSeconds": 900,
                    "template": _template(board, shard),
                },
            }


def state(board: Board, snapshot: Snapshot, shard: int) -> MigrationState:
    """Where the shard's migration to the current image stands."""
    name = job_name(board, shard)
    job = snapshot.get("Job", name)
    if job is None:
        return MigrationState(name, "absent")
    for condition in job.get("status", {}).get("conditions", []):
        if condition["status"] != "True":
            continue
        if condition["type"] == "Complete":
            return MigrationState(name, "done")
        if condition["type"] == "Failed":
            detail = _last_words(snapshot, name) or condition.get("message", "")
            return MigrationState(name, "failed", detail, _time(condition))
    return MigrationState(name, "running", _last_words(snapshot, name))


def _last_words(snapshot: Snapshot, job: str) -> str:
    """The final line of the newest attempt that failed, or why the newest does not start."""
    attempts = [
        pod
        for pod in snapshot.of_kind("Pod")
        if pod["metadata"].get("labels", {}).get("batch.kubernetes.io/job-name") == job
    ]
    attempts.sort(key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True)
    for pod in attempts:
        for status in pod.get("status", {}).get("containerStatuses", []):
            ended = status.get("state", {}).get("terminated") or {}
            lines = str(ended.get("message", "")).strip().splitlines()
            if ended.get("exitCode") and lines:
                return lines[-1].removeprefix("scoreboard-migrate: error: ")[:300]
    trouble = pod_trouble(attempts[0]) if attempts else ""
    # These two are what every pod that is on its way says.
    return "" if trouble in ("starting", "not ready yet") else trouble


def _time(condition: dict[str, Any]) -> datetime | None:
    text = condition.get("lastTransitionTime")
    return datetime.fromisoformat(str(text)) if text else None


def _labels(board: Board, shard: int) -> dict[str, str]:
    version = image_version(board.images.scoreboard)
    return labels(board, COMPONENT, "scoreboard-migrations", version=version, shard=shard)


def _template(board: Board, shard: int) -> Object:
    prefix = "SCOREBOARD_MIGRATE_"
    migrate = container(
        "migrate",
        board.images.scoreboard,
        cpu="20m",
        memory="192Mi",
        memory_request="64Mi",
        command=["scoreboard-migrate", "upgrade"],
        env={
            f"{prefix}HOST": board.host(names.primary_service(board, shard)),
            f"{prefix}PASSWORD_FILE": "/etc/scoreboard/credentials/owner-password",
            f"{prefix}CA_FILE": "/etc/scoreboard/tls/ca.crt",
            f"{prefix}WAIT_SECONDS": str(_WAIT_SECONDS),
        },
        mounts={"tmp": "/tmp"},  # noqa: S108 - a mount point in the pod
        read_only_mounts={
            "tls": "/etc/scoreboard/tls",
            "credentials": "/etc/scoreboard/credentials",
        },
    )
    # The last line of a failed run becomes part of the pod's status, and from there of ours.
    migrate["terminationMessagePolicy"] = "FallbackToLogsOnError"
    pod = pod_spec(
        [migrate],
        zone=board.zones,
        volumes=[
            empty_dir("tmp"),
            secret_volume("tls", f"{board.name}-db-tls", keys=["ca.crt"]),
            secret_volume("credentials", f"{board.name}-db-credentials", keys=["owner-password"]),
        ],
        restart_policy="Never",
    )
    return {"metadata": {"labels": _labels(board, shard)}, "spec": pod}
