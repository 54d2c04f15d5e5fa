"""KafkaReady and the rows of ``status.topics``. (Pure.)"""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, ComponentStatus, Object, Snapshot
from scoreboard_operator.components.kafka.desired import workload, workloads
from scoreboard_operator.components.kafka.state import (
    Observed,
    missing_brokers,
    pending,
    sync_trouble,
)
from scoreboard_operator.components.kafka.topics import (
    HOUR_MS,
    MIN_INSYNC,
    RETENTION,
    TopicState,
    describe,
    obstacles,
    wanted_topics,
)


def status(board: Board, snapshot: Snapshot, observed: Any) -> ComponentStatus:
    """Ready once all brokers take part and topics, users and permissions stand as wanted."""
    seen = observed if isinstance(observed, Observed) else Observed(problem="not asked yet")
    rows = _rows(board, seen)
    trouble = _trouble(board, snapshot, seen)
    if trouble is not None:
        reason, message = trouble
        return ComponentStatus(False, reason, message, tables={"topics": rows})
    brokers = len(board.zones)
    message = (
        f"{brokers} of {brokers} brokers in {', '.join(board.zones)}; {len(rows)} topics,"
        " all partitions in sync"
    )
    return ComponentStatus(True, "Ready", message, tables={"topics": rows})


def _trouble(board: Board, snapshot: Snapshot, observed: Observed) -> tuple[str, str] | None:
    """Reason and message of the first thing that is awaited."""
    waiting = build.waiting_message(snapshot, "StatefulSet", workloads(board))
    if waiting is not None:
        return "WaitingForBrokers", waiting
    if observed.problem is not None:
        return "BrokersUnreachable", f"the brokers are not to be asked: {observed.problem}"
    absent = [workload(board, zone) for zone in missing_brokers(board, observed)]
    if absent:
        return "WaitingForBrokers", f"waiting for {', '.join(absent)} to join the cluster"
    behind = sync_trouble(observed)
    if behind is not None:
        return "UnderReplicated", f"waiting for copies to catch up: {behind} not in sync"
    found = obstacles(wanted_topics(board), observed.topics)
    if found:
        return "TopicsDiffer", "; ".join(found)
    wanted = pending(board, snapshot, observed)
    if wanted.topics:
        changes = ", ".join(describe(change) for change in wanted.topics)
        return "TopicsPending", f"about to {changes}"
    if wanted.users:
        names = ", ".join(each.user for each in wanted.users)
        return "UsersPending", f"about to set the passwords of {names}"
    if wanted.acls_to_add or wanted.acls_to_remove:
        count = len(wanted.acls_to_add) + len(wanted.acls_to_remove)
        return "AccessPending", f"about to correct {count} permissions"
    return None


def _rows(board: Board, observed: Observed) -> list[Object]:
    """The board's own topics as they are, in the order of the spec."""
    found = (observed.topics.get(topic.name) for topic in wanted_topics(board))
    return [_row(state) for state in found if state is not None]


def _row(state: TopicState) -> Object:
    row: Object = {
        "name": state.name,
        "partitions": state.partitions,
        "replicationFactor": state.replication_factor,
        "underReplicated": len(state.under_replicated),
    }
    config = state.config or {}
    if MIN_INSYNC in config:
        row["minInsyncReplicas"] = int(config[MIN_INSYNC])
    if RETENTION in config:
        row["retentionHours"] = int(config[RETENTION]) // HOUR_MS
    return row
