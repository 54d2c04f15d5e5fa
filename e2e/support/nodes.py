"""What only a node can do: kill a container's processes without asking them."""

from __future__ import annotations

import subprocess

from e2e.support import cluster

# The cgroup of every process of a container carries the container's id.
_KILL = """
for file in /proc/[0-9]*/cgroup; do
  pid=${file#/proc/}; pid=${pid%/cgroup}
  if grep -q "$1" "$file" 2>/dev/null; then kill -9 "$pid" && echo "$pid"; fi
done
"""


def sigkill(pod: cluster.Object) -> int:
    """SIGKILL all processes of the pod's containers on its node; returns how many there were.

    A deletion with grace period 0 would not do: the kubelet still asks nicely first.
    """
    killed = 0
    for status in pod["status"].get("containerStatuses", []):
        identity = status.get("containerID", "").rpartition("//")[2]
        if identity:
            command = ["docker", "exec", pod["spec"]["nodeName"], "sh", "-c", _KILL, "sh", identity]
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=30, check=False
            )
            killed += len(result.stdout.split())
    return killed
