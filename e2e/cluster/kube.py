"""kubectl against our cluster, and nothing but our cluster."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from . import tools
from .paths import KUBECONFIG
from .shell import attempt, output


def environment() -> dict[str, str]:
    """The environment in which kubectl, helm and others talk to this cluster and no other."""
    return {"KUBECONFIG": str(KUBECONFIG)}


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 60) -> str:
    """kubectl's output. Raises ClusterError with what it said when it fails."""
    command = [tools.kubectl(), *arguments]
    return output(command, stdin=stdin, timeout=timeout, env=environment())


def asked(*arguments: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    """kubectl's answer, whatever it is."""
    return attempt([tools.kubectl(), *arguments], timeout=timeout, env=environment())


def get(*arguments: str) -> dict[str, Any] | None:
    """An object or list as it is now; None when it cannot be had."""
    answer = asked("get", *arguments, "-o", "json")
    if answer.returncode != 0:
        return None
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def items(*arguments: str) -> list[dict[str, Any]]:
    """The objects of a list; empty when it cannot be had."""
    found = (get(*arguments) or {}).get("items", [])
    return list(found)
