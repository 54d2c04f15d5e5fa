"""The database's condition and the shards table (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, log2
from typing import Any

from scoreboard_operator.components.base import Board, ComponentStatus, Snapshot
from scoreboard_operator.components.build import pod_ready, pod_trouble, workload_current
from scoreboard_operator.components.database import migrations
from scoreboard_operator.components.database.observe import MemberState, Observed, ShardState

_LAG_STEP = 1024 * 1024
"""Lag below 1 MiB is noise; above it, powers of two: every new number is a status write."""

# The reason of the condition is the first of these that any shard has.
_ORDER = (
    "MigrationFailed",
    "WaitingForLeader",
    "WaitingForMembers",
    "MigrationsRunning",
    "WaitingForRoles",
    "Degraded",
)


def status(board: Board, snapshot: Snapshot, observed: Any) -> ComponentStatus:
    """Condition and rows; stalled only for what the user must mend."""
    if not isinstance(observed, Observed):
        return ComponentStatus(False, "WaitingForMembers", "not looked at yet")
    findings = [
        finding for shard in observed.shards for finding in _findings(board, snapshot, shard)
    ]
    tables = {"shards": [_row(shard) for shard in observed.shards]}
    if not findings:
        return ComponentStatus(True, "Ready", _summary(board, observed), tables=tables)
    findings.sort(key=lambda finding: _ORDER.index(finding[0]))
    reason = findings[0][0]
    texts = [text for _, text in findings]
    more = f"; and {len(texts) - 3} more" if len(texts) > 3 else ""
    return ComponentStatus(False, reason, "; ".join(texts[:3]) + more, tables=tables)


def _findings(board: Board, snapshot: Snapshot, shard: ShardState) -> Iterator[tuple[str, str]]:
    """What is amiss with a shard, as (reason, sentence)."""
    migration = migrations.state(board, snapshot, shard.index)
    prefix = f"shard {shard.index}"
    down = [state for state in shard.members if not shard.healthy(state)]
    leading = shard.leading
    if leading is None or not leading.ready:
        who = f"{leading.member.name} leads but is not ready" if leading else "no leader yet"
        why = "; ".join(_why(snapshot, shard, state) for state in down[:1])
        yield "WaitingForLeader", f"{prefix}: {who}" + (f" ({why})" if why else "")
    elif down:
        why = ", ".join(_why(snapshot, shard, state) for state in down)
        reason = "Degraded" if migration.state == "done" else "WaitingForMembers"
        yield reason, f"{prefix}: {why}"
    for state in shard.members:
        live = snapshot.get("StatefulSet", state.member.workload)
        if live is None:
            if state not in down:
                yield "WaitingForMembers", f"{prefix}: {state.member.workload} does not exist"
        elif state not in down and not workload_current(live):
            yield "Degraded", f"{prefix}: {state.member.name} is being replaced"
    if leading is None:
        return
    if migration.state == "failed":
        yield "MigrationFailed", f"{prefix}: {migration.job}: {migration.detail}"
    elif migration.state != "done":
        detail = f" ({migration.detail})" if migration.detail else ""
        yield "MigrationsRunning", f"{prefix}: {migration.job} {_doing(migration.state)}{detail}"
    if shard.roles.state == "wrong":
        yield "WaitingForRoles", f"{prefix}: {shard.roles.detail}"


def _doing(state: str) -> str:
    return "is running" if state == "running" else "is to be created"


def _why(snapshot: Snapshot, shard: ShardState, state: MemberState) -> str:
    """One phrase: which pod, where, and why it does not do its part."""
    pod = snapshot.get("Pod", state.member.name)
    if pod is None:
        trouble = "no pod yet"
    elif not pod_ready(pod):
        trouble = pod_trouble(pod)
        if trouble in ("not ready yet", "starting") and state.state:
            # A record outlives its writer: "running" on a pod that is not ready says nothing.
            silent = state.state == "running"
            trouble = "not ready" if silent else f"PostgreSQL: {state.state}"
    elif shard.leader is None:
        trouble = "waits for a leader"
    else:
        trouble = "does not stream from the leader"
    return f"{state.member.name} in zone {state.member.zone}: {trouble}"


def _row(shard: ShardState) -> dict[str, Any]:
    replicas = shard.replicas
    lags = [state.lag_bytes for state in replicas if state.streaming and state.lag_bytes]
    up = sum(1 for state in replicas if shard.healthy(state))
    synchronous = [state.member.workload for state in replicas if state.synchronous]
    return {
        "index": shard.index,
        "primary": shard.leader.name if shard.leader else None,
        "zone": shard.leader.zone if shard.leader else None,
        "timeline": shard.timeline,
        "lagBytes": _rounded(max(lags, default=0)),
        "replicas": f"{up}/{len(shard.members) - 1}",
        "synchronous": ",".join(synchronous) or None,
    }


def _rounded(lag: int) -> int:
    """0 below 1 MiB, else rounded up to a power of two MiB; bytes."""
    return 0 if lag < _LAG_STEP else int(_LAG_STEP * 2 ** ceil(log2(lag / _LAG_STEP)))


def _summary(board: Board, observed: Observed) -> str:
    zones = sorted({shard.leader.zone for shard in observed.shards if shard.leader})
    replicas = sum(len(shard.replicas) for shard in observed.shards)
    count = len(observed.shards)
    leads = f"{count} shard{'s lead' if count > 1 else ' leads'} from {', '.join(zones)}"
    return leads + (f", {replicas} replicas stream" if replicas else "")
