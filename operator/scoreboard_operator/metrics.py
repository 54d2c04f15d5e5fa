"""Metrics of the operator itself, in Prometheus form.

``scoreboard_operator_api_requests_total{verb,kind}`` counts every API call by the verb RBAC
knows; writes are the verbs other than get, list and watch.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

API_REQUESTS = Counter(
    "scoreboard_operator_api_requests_total",
    "Requests to the API server",
    ["verb", "kind", "code"],
)
PASSES = Counter(
    "scoreboard_operator_passes_total",
    "Reconcile passes by result: ready, waiting, stalled, paused, failed",
    ["result"],
)
PASS_SECONDS = Histogram(
    "scoreboard_operator_pass_seconds",
    "Duration of one pass; noop passes wrote nothing",
    ["noop"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
PASS_WRITES = Histogram(
    "scoreboard_operator_pass_writes",
    "API writes of one pass",
    buckets=(0, 1, 2, 5, 10, 20, 50, 100),
)
QUEUE_SECONDS = Histogram(
    "scoreboard_operator_queue_seconds",
    "Time from the first wake-up to the start of the pass",
    buckets=(0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10),
)
BOARDS = Gauge("scoreboard_operator_boards", "Scoreboards under management", ["ready"])
LEADER = Gauge("scoreboard_operator_leader", "1 while this replica holds the Lease")

WRITE_VERBS = frozenset({"create", "update", "patch", "delete"})
