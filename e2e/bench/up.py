"""Numbers of issue 3, section 5: `make bench-up` prints them, nothing asserts them.

Run on the cluster of `make up`. The full sample is deleted with its data and applied anew, which
is the only way to time its creation; ``--keep`` leaves it alone and measures the rest. Beside each
time stands a floor that was measured in the same run, so that numbers of different machines can
be compared.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
import yaml
from rich.console import Console
from rich.table import Table

from e2e.cluster.config import NODES
from e2e.cluster.paths import SAMPLE, cache
from e2e.support import cluster, metrics
from e2e.support.board import DEMO, BoardHandle
from e2e.support.polling import eventually

UP_TIMES = cache("up-times.jsonl")
"""One line for each `make up`: at, seconds, cold, stages."""

MIB = 1024 * 1024
STEADY_SECONDS = 60
PASS_SECONDS = "scoreboard_operator_pass_seconds"
CREATION_LIMIT = 900.0
UNKNOWN = "not measured in this run"

console = Console()


def main(
    rounds: Annotated[int, typer.Option(help="How often to create the sample.")] = 1,
    keep: Annotated[bool, typer.Option(help="Leave the sample as it is.")] = False,
) -> None:
    """Measure and print one table."""
    table = Table(title="Scoreboard on this machine", title_justify="left")
    for heading in ("what", "measured", "wanted", "floor of the same run"):
        table.add_column(heading)
    for row in make_up_rows():
        table.add_row(*row)
    table.add_row(*creation_row(0 if keep else rounds))
    DEMO.wait_ready(limit=CREATION_LIMIT)
    for row in steady_rows():
        table.add_row(*row)
    table.add_row(*memory_row())
    console.print(table)


def make_up_rows() -> list[tuple[str, str, str, str]]:
    """The newest cold and warm `make up` the cluster package has noted down."""
    seen = {True: UNKNOWN, False: UNKNOWN}
    for run in _up_times(UP_TIMES):
        seen[bool(run["cold"])] = f"{_minutes(float(str(run['seconds'])))} ({run['at']})"
    return [
        ("make up, cold", seen[True], "at most 30 min", "-"),
        ("make up, warm", seen[False], "at most 5 min", "-"),
    ]


def creation_row(rounds: int) -> tuple[str, str, str, str]:
    """`kubectl apply` of the full sample until Ready=True, images loaded."""
    times = []
    for number in range(rounds):
        console.print(f"creating the sample, round {number + 1} of {rounds}")
        _remove(DEMO)
        sample = yaml.safe_load(SAMPLE.read_text())
        started = time.monotonic()
        cluster.said(cluster.apply(sample))
        DEMO.wait_ready(limit=CREATION_LIMIT)
        times.append(time.monotonic() - started)
        console.print(f"  Ready after {_minutes(times[-1])}")
    shown = _minutes(statistics.median(times)) if times else UNKNOWN
    if len(times) > 1:
        shown += f" (median of {len(times)})"
    pod = f"{_pod_floor():.1f} s for one bare pod to be Ready"
    return ("apply -> Ready=True, full sample", shown, "at most 4 min", pod)


def steady_rows() -> list[tuple[str, str, str, str]]:
    """A minute in which nothing is asked of the operator."""
    console.print(f"watching the operator for {STEADY_SECONDS} s")
    before = metrics.leader()
    eventually(_after(STEADY_SECONDS), "a minute", limit=STEADY_SECONDS * 2, every=1)
    after = metrics.leader()
    floor = _request_floor()
    resident = metrics.total(after, "process_resident_memory_bytes") / MIB
    written = sum(metrics.since(metrics.writes(before), metrics.writes(after)).values())
    passes = quantiles(before, after, (0.5, 0.99))
    count = metrics.total(after, f"{PASS_SECONDS}_count") - metrics.total(
        before, f"{PASS_SECONDS}_count"
    )
    shown = ", ".join(f"p{round(q * 100)} {_within(limit)}" for q, limit in passes.items())
    return [
        ("operator RSS (leader)", f"{resident:.0f} MiB", "at most 120 MiB", "-"),
        ("no-op pass", shown or UNKNOWN, "at most 150 ms", f"{floor * 1000:.1f} ms for one GET"),
        ("writes in a steady minute", f"{written:.0f} in {count:.0f} passes", "0", "-"),
    ]


def memory_row() -> tuple[str, str, str, str]:
    """What the four nodes use, page cache left aside: anonymous memory, kernel, shared memory."""
    used = {node: _node_memory(node) for node in NODES}
    total = sum(used.values())
    each = ", ".join(f"{value / 1024:.1f}" for value in used.values())
    return (
        "memory of the whole cluster",
        f"{total / 1024:.1f} GiB ({each})",
        "at most 9 GiB",
        f"{_node_memory(NODES[0]) / 1024:.1f} GiB is the control plane alone",
    )


def quantiles(
    before: list[metrics.Sample], after: list[metrics.Sample], wanted: tuple[float, ...]
) -> dict[float, tuple[float, float]]:
    """Quantiles of no-op passes between two readings, as the bucket (from, to) they fall into."""
    counts = {
        float(sample.labels["le"]): sample.value
        for sample in after
        if sample.name == f"{PASS_SECONDS}_bucket" and sample.labels.get("noop") == "true"
    }
    for sample in before:
        if sample.name == f"{PASS_SECONDS}_bucket" and sample.labels.get("noop") == "true":
            counts[float(sample.labels["le"])] -= sample.value
    total = max(counts.values(), default=0.0)
    found: dict[float, tuple[float, float]] = {}
    for quantile in wanted:
        lower = 0.0
        for limit in sorted(counts):
            if total and counts[limit] >= quantile * total:
                found[quantile] = (lower, limit)
                break
            lower = limit
    return found


def _within(bucket: tuple[float, float]) -> str:
    return f"{bucket[0] * 1000:.0f}-{bucket[1] * 1000:.0f} ms"


def _after(seconds: float) -> Callable[[], bool]:
    ends = time.monotonic() + seconds
    return lambda: time.monotonic() > ends


def _up_times(path: Path) -> list[dict[str, object]]:
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()]


def _remove(board: BoardHandle) -> None:
    """Delete the sample with its data, so that the next creation starts from nothing."""
    if cluster.get("Scoreboard", board.namespace, board.name) is None:
        return
    board.patch({"deletionPolicy": "Delete"})
    cluster.delete("Scoreboard", board.namespace, board.name)

    def gone() -> bool:
        assert cluster.get("Scoreboard", board.namespace, board.name) is None, "still deleting"
        assert not board.objects("Pod"), "pods are left"
        assert not board.objects("PersistentVolumeClaim"), "volumes are left"
        return True

    eventually(gone, "the old sample is gone", limit=300, every=1)


def _pod_floor() -> float:
    """Seconds from apply to Ready of a pod that does nothing: what Kubernetes itself takes."""
    image = DEMO.resource()["status"]["images"]["redis"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bench-floor", "namespace": "default"},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "floor", "image": image, "command": ["sleep", "300"]}],
        },
    }
    cluster.delete("Pod", "default", "bench-floor", grace=0)
    eventually(lambda: cluster.get("Pod", "default", "bench-floor") is None, "the old pod is gone")
    started = time.monotonic()
    cluster.said(cluster.apply(pod))
    eventually(_floor_ready, "the bare pod is Ready", limit=120, every=0.1)
    took = time.monotonic() - started
    cluster.delete("Pod", "default", "bench-floor", grace=0)
    return took


def _floor_ready() -> bool:
    status = cluster.need("Pod", "default", "bench-floor")["status"]
    return any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])


def _request_floor() -> float:
    """Median seconds of a bare GET at the API server."""
    times = []
    for _ in range(50):
        started = time.monotonic()
        cluster.raw("/version")
        times.append(time.monotonic() - started)
    return statistics.median(times)


# cgroup v2 and v1 name the same things differently.
_MEMORY = """
if [ -f /sys/fs/cgroup/memory.stat ]; then cat /sys/fs/cgroup/memory.stat
else cat /sys/fs/cgroup/memory/memory.stat
  echo kernel "$(cat /sys/fs/cgroup/memory/memory.kmem.usage_in_bytes)"; fi
"""


def _node_memory(node: str) -> float:
    """MiB a node uses that could not be dropped."""
    said = subprocess.run(
        ["docker", "exec", node, "sh", "-c", _MEMORY],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    values = {key: int(value) for key, value in (line.split() for line in said.splitlines())}
    kernel = values.get("kernel", 0)
    anonymous = values.get("total_rss", values.get("anon", 0))
    shared = values.get("total_shmem", values.get("shmem", 0))
    return (anonymous + shared + kernel) / MIB


def _minutes(seconds: float) -> str:
    return (
        f"{seconds:.0f} s" if seconds < 90 else f"{int(seconds) // 60} min {seconds % 60:02.0f} s"
    )


if __name__ == "__main__":
    typer.run(main)
