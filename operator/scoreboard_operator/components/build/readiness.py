"""Reading workloads and pods: are they current, are they ready, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable

from scoreboard_operator.components.base import Object, Snapshot


def workload_current(live: Object) -> bool:
    """Whether the controller has seen the newest spec and moved every pod to it."""
    status = live.get("status", {})
    wanted = live["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return False
    if live["kind"] == "StatefulSet":
        newest = status.get("updateRevision")
        on_newest = status.get("currentRevision") == newest or status.get(
            "updatedReplicas", 0
        ) >= int(wanted)
        return bool(on_newest)
    updated = bool(status.get("updatedReplicas", 0) >= wanted)
    return updated and status.get("replicas", 0) <= wanted


def workload_ready(live: Object | None) -> bool:
    """Whether every replica of a Deployment or StatefulSet is current and ready."""
    if live is None:
        return False
    wanted = live["spec"].get("replicas", 1)
    return workload_current(live) and live.get("status", {}).get("readyReplicas", 0) >= wanted


def pod_ready(pod: Object) -> bool:
    """Whether the pod is not going away and its Ready condition is True."""
    if pod["metadata"].get("deletionTimestamp"):
        return False
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for condition in pod.get("status", {}).get("conditions", [])
    )


def pod_trouble(pod: Object) -> str:
    """One phrase for why a pod is not ready, the most telling cause first."""
    status = pod.get("status", {})
    statuses = status.get("initContainerStatuses", []) + status.get("containerStatuses", [])
    for container in statuses:
        waiting = container.get("state", {}).get("waiting") or {}
        reason = waiting.get("reason", "")
        if reason and reason not in ("PodInitializing", "ContainerCreating"):
            return f"{container['name']}: {reason}"
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"not scheduled: {condition.get('message', 'no node fits')}"
    if pod["metadata"].get("deletionTimestamp"):
        return "terminating"
    if any(c.get("state", {}).get("waiting") for c in statuses) or not statuses:
        return "starting"
    return "not ready yet"


def waiting_message(snapshot: Snapshot, kind: str, names: Iterable[str]) -> str | None:
    """What the first few unready workloads wait for, or None when all are ready.

    The sentence names the pods and their trouble, so that ``kubectl get`` answers "why?".
    """
    unready = [name for name in names if not workload_ready(snapshot.get(kind, name))]
    if not unready:
        return None
    parts = []
    for name in unready[:3]:
        pods = [
            pod for pod in snapshot.of_kind("Pod") if pod["metadata"]["name"].startswith(f"{name}-")
        ]
        trouble = next((pod_trouble(pod) for pod in pods if not pod_ready(pod)), None)
        if trouble is None:
            trouble = "rolling to the new revision" if pods else "no pod yet"
        parts.append(f"{name} ({trouble})")
    more = f" and {len(unready) - 3} more" if len(unready) > 3 else ""
    return f"waiting for {', '.join(parts)}{more}"
