"""The kind cluster."""

from __future__ import annotations

from .shell import attempt

NAME = "scoreboard"


def workers() -> list[str]:
    """Names of the running worker nodes."""
    label = f"label=io.x-k8s.kind.cluster={NAME}"
    listed = attempt(["docker", "ps", "--filter", label, "--format", "{{.Names}}"]).stdout.split()
    return sorted(name for name in listed if "worker" in name)
