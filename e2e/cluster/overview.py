"""What is there, at a glance: nodes, operator, Scoreboards and their conditions; and their logs."""

from __future__ import annotations

import subprocess
from collections import Counter
from typing import Any

from rich.markup import escape
from rich.table import Table

from . import config, demo, install, kind, kube, tools
from .diagnosis import trouble
from .progress import console
from .shell import ClusterError, environment

ZONE = "topology.kubernetes.io/zone"
COLOURS = {"True": "green", "False": "red", "Unknown": "yellow"}


def show() -> None:
    """Print the whole picture; raises when there is no cluster to look at."""
    states = kind.node_states()
    if not states:
        raise ClusterError("there is no cluster; `make up` makes one")
    console.print(_nodes(states))
    console.print(_operator())
    for scoreboard in kube.items("scoreboards", "-A"):
        console.print(_scoreboard(scoreboard))


def _nodes(states: dict[str, str]) -> Table:
    pods = kube.items("pods", "-A")
    running = Counter(pod["spec"].get("nodeName") for pod in pods)
    table = Table(
        "node", "zone", "container", "kubelet", "pods", title="Cluster", title_style="bold"
    )
    nodes = {node["metadata"]["name"]: node for node in kube.items("nodes")}
    for name in config.NODES:
        node = nodes.get(name, {"metadata": {}, "status": {}})
        conditions = {c["type"]: c["status"] for c in node["status"].get("conditions", [])}
        table.add_row(
            name.removeprefix(f"{config.NAME}-"),
            node["metadata"].get("labels", {}).get(ZONE, ""),
            states.get(name, "missing"),
            _coloured("Ready" if conditions.get("Ready") == "True" else "not ready"),
            str(running[name]),
        )
    return table


def _operator() -> Table:
    table = Table("deployment", "replicas", "state", title="Operator", title_style="bold")
    for item in kube.items("deployments", "-n", install.NAMESPACE):
        wanted = item["spec"].get("replicas", 1)
        ready = item["status"].get("readyReplicas", 0)
        lacking = install.rollout(item)
        table.add_row(item["metadata"]["name"], f"{ready}/{wanted}", lacking or _coloured("Ready"))
    return table


def _scoreboard(scoreboard: dict[str, Any]) -> Table:
    meta, status = scoreboard["metadata"], scoreboard.get("status", {})
    seen = status.get("observedGeneration") == meta.get("generation")
    title = f"Scoreboard {meta['namespace']}/{meta['name']}"
    table = Table("condition", "status", "reason", "message", title=title, title_style="bold")
    for condition in status.get("conditions", []):
        table.add_row(
            condition["type"],
            f"[{COLOURS.get(condition['status'], 'white')}]{condition['status']}[/]",
            escape(condition.get("reason", "")),
            escape(condition.get("message", "")),
        )
    troubled = [
        f"{pod['metadata']['name']} ({why})"
        for pod in kube.items("pods", "-n", meta["namespace"])
        if (why := trouble(pod))
    ]
    if not seen:
        table.add_row("", "", "", "[yellow]the latest change has not been seen yet")
    if troubled:
        table.add_row("", "", "", escape("not ready: " + "; ".join(troubled[:5])))
    return table


def _coloured(state: str) -> str:
    return f"[green]{state}[/]" if state == "Ready" else f"[red]{state}[/]"


def logs(*, follow: bool, stack: bool, tail: int) -> None:
    """Print log lines; with `follow` until interrupted."""
    wanted = [(install.NAMESPACE, "app.kubernetes.io/name=scoreboard-operator")]
    if stack:
        wanted.append((demo.NAMESPACE, "app.kubernetes.io/part-of=scoreboard"))
    running = []
    for namespace, selector in wanted:
        command = [tools.kubectl(), "logs", "-n", namespace, "-l", selector, f"--tail={tail}"]
        command += ["--all-containers", "--prefix", "--ignore-errors", "--max-log-requests=100"]
        command += ["-f"] if follow else []
        running.append(subprocess.Popen(command, env=environment(kube.environment())))
    for process in running:
        process.wait()
