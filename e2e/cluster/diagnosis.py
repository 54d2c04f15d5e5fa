"""What a person needs to see when a Scoreboard does not become ready."""

from __future__ import annotations

from typing import Any

from . import kube
from .install import NAMESPACE as OPERATOR

PODS = 6
EVENTS = 12
LINES = 12


def of(namespace: str, name: str) -> str:
    """Conditions, pods that are not ready, warnings and last log lines, as text."""
    scoreboard = kube.get("scoreboard", name, "-n", namespace) or {}
    conditions = scoreboard.get("status", {}).get("conditions", [])
    lines = ["", "Conditions:"]
    lines += [
        f"  {c['type']}={c['status']} {c.get('reason', '')}: {c.get('message', '')}"
        for c in conditions
    ]
    troubled = [(pod, why) for pod in kube.items("pods", "-n", namespace) if (why := trouble(pod))]
    lines += ["Pods that are not ready:"]
    lines += [f"  {pod['metadata']['name']}: {why}" for pod, why in troubled]
    lines += ["Warnings:", *_warnings(namespace)]
    for pod, _ in troubled[:PODS]:
        lines += _log(namespace, pod["metadata"]["name"])
    selector = "app.kubernetes.io/name=scoreboard-operator"
    answer = kube.asked("logs", "-n", OPERATOR, "-l", selector, f"--tail={LINES}", "--prefix")
    lines += ["Operator:", *("  " + line for line in answer.stdout.splitlines())]
    return "\n".join(lines)


def trouble(pod: dict[str, Any]) -> str:
    """Why a pod is not ready; empty when it is or when it has finished well."""
    status = pod.get("status", {})
    if status.get("phase") == "Succeeded":
        return ""
    for container in [
        *status.get("initContainerStatuses", []),
        *status.get("containerStatuses", []),
    ]:
        state = container.get("state", {})
        for kind in ("waiting", "terminated"):
            reason = state.get(kind, {}).get("reason")
            if reason and reason not in ("PodInitializing", "Completed"):
                message = state[kind].get("message", "").strip().splitlines()[-1:]
                return " ".join([f"{container['name']} {reason}", *message])
    for condition in status.get("conditions", []):
        if condition["type"] in ("PodScheduled", "Ready") and condition["status"] != "True":
            return str(condition.get("message") or condition.get("reason") or "not ready")
    return "" if status.get("conditions") else str(status.get("phase", "unknown"))


def _warnings(namespace: str) -> list[str]:
    found = kube.items("events", "-n", namespace, "--field-selector", "type=Warning")
    found.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return [
        f"  {event['involvedObject'].get('name')}: {event.get('reason')} {event.get('message')}"
        for event in found[-EVENTS:]
    ]


def _log(namespace: str, pod: str) -> list[str]:
    arguments = ("logs", "-n", namespace, pod, "--all-containers", f"--tail={LINES}")
    said = kube.asked(*arguments).stdout
    return [f"Last words of {pod}:", *("  " + line for line in said.splitlines())]
