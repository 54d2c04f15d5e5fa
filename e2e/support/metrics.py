"""Prometheus text, and what the operator tells about itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from e2e.support import cluster

OPERATOR_NAMESPACE = "scoreboard-system"
OPERATOR_PODS = "app.kubernetes.io/name=scoreboard-operator"
WRITES = frozenset({"create", "update", "patch", "delete"})

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ([^ ]+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True)
class Sample:
    """One line of an exposition."""

    name: str
    labels: dict[str, str]
    value: float


def parse(text: str) -> Iterator[Sample]:
    """Samples of a Prometheus text exposition."""
    for line in text.splitlines():
        match = None if line.startswith("#") else _LINE.match(line)
        if match:
            yield Sample(match[1], dict(_LABEL.findall(match[2] or "")), float(match[3]))


def operator_pods() -> list[cluster.Object]:
    """The operator's pods, those on their way out left aside."""
    pods = cluster.listing("Pod", OPERATOR_NAMESPACE, OPERATOR_PODS)
    return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]


def operator_samples() -> dict[str, list[Sample]]:
    """What each operator pod exposes now, by pod name."""
    found = {}
    for pod in operator_pods():
        name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/pods/{name}:8080/proxy/metrics"
        found[name] = list(parse(cluster.raw(path)))
    return found


def leader() -> list[Sample]:
    """What the leading operator exposes; AssertionError when none leads."""
    for samples in operator_samples().values():
        if any(s.name == "scoreboard_operator_leader" and s.value == 1 for s in samples):
            return samples
    raise AssertionError("no operator pod leads")


def writes(samples: list[Sample]) -> dict[str, float]:
    """Write requests to the API server so far, as "verb kind"; the leader's own Lease left out."""
    counted: dict[str, float] = {}
    for sample in samples:
        verb, kind = sample.labels.get("verb", ""), sample.labels.get("kind", "")
        named = sample.name == "scoreboard_operator_api_requests_total"
        if named and verb in WRITES and kind != "Lease":
            counted[f"{verb} {kind}"] = counted.get(f"{verb} {kind}", 0) + sample.value
    return counted


def total(samples: list[Sample], name: str, **labels: str) -> float:
    """Sum of the samples of a name that carry these labels."""
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def since(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """What was counted between two readings, without what did not change."""
    grown = {key: value - before.get(key, 0) for key, value in after.items()}
    return {key: value for key, value in grown.items() if value}
