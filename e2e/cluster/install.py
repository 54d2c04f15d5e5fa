"""The operator, installed by its own chart the way a user would."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

from . import kube, tools
from .images import Image
from .paths import CHART
from .progress import Stage
from .shell import ClusterError, attempt, run

RELEASE = "scoreboard-operator"
NAMESPACE = "scoreboard-system"
STEADY = 3.0
"""Seconds without a break that count as ready: a crashing pod is ready now and then."""

LIMIT = 180.0
"""Seconds for the operator's replicas to be ready after an upgrade."""


def ensure(stage: Stage, images: Sequence[Image]) -> None:
    """Install or upgrade the operator, if its chart or any image changed; wait for it."""
    if not (CHART / "Chart.yaml").is_file():
        raise ClusterError(f"there is no chart at {CHART}")
    wanted = digest(CHART, images)
    if _installed() == wanted and not waiting():
        stage.done("as it was")
        return
    if _installed() != wanted:
        _forget_interrupted()
        stage.say("helm upgrade")
        run(stage, _command(images, wanted), env=kube.environment())
    _wait(stage)
    stage.done(f"ready, release {wanted}")


def digest(chart: Path, images: Sequence[Image]) -> str:
    """What the release depends on: every file of the chart and every image reference."""
    total = hashlib.sha256()
    for path in sorted(chart.rglob("*")):
        if path.is_file():
            total.update(f"{path.relative_to(chart)}\0".encode() + path.read_bytes())
    for image in images:
        total.update(image.reference.encode())
    return total.hexdigest()[:12]


def _command(images: Sequence[Image], description: str) -> list[str]:
    command = [tools.helm(), "upgrade", "--install", RELEASE, str(CHART), "-n", NAMESPACE]
    command += ["--create-namespace", "--description", description, "--timeout", "120s"]
    for image in images:
        command += ["--set", f"images.{image.name}={image.reference}"]
    return command


def _installed() -> str | None:
    """The digest the running release was made from; None when there is none or it is unfinished."""
    command = [tools.helm(), "status", RELEASE, "-n", NAMESPACE, "-o", "json"]
    answer = attempt(command, env=kube.environment())
    if answer.returncode != 0:
        return None
    info = json.loads(answer.stdout)["info"]
    return str(info.get("description")) if info.get("status") == "deployed" else None


def _forget_interrupted() -> None:
    """Helm refuses to touch a release that it was killed in the middle of; drop that record."""
    for state in ("pending-install", "pending-upgrade", "pending-rollback"):
        selector = f"owner=helm,name={RELEASE},status={state}"
        kube.asked("delete", "secret", "-n", NAMESPACE, "-l", selector)


def waiting() -> list[str]:
    """What the operator's Deployments still lack, as sentences."""
    return [
        f"{item['metadata']['name']}: {lacking}"
        for item in kube.items("deployments", "-n", NAMESPACE)
        if (lacking := rollout(item))
    ]


def rollout(deployment: dict[str, dict[str, object]]) -> str:
    """Why a Deployment's rollout is not complete; empty when it is."""
    status, wanted = deployment["status"], deployment["spec"].get("replicas", 1)
    if status.get("observedGeneration") != deployment["metadata"].get("generation"):
        return "not seen yet"
    if status.get("updatedReplicas", 0) != wanted:
        return f"{status.get('updatedReplicas', 0)} of {wanted} replicas updated"
    if status.get("replicas", 0) != wanted:
        return "old replicas are leaving"
    if status.get("availableReplicas", 0) != wanted:
        return f"{status.get('availableReplicas', 0)} of {wanted} replicas available"
    return ""


def _wait(stage: Stage) -> None:
    deadline = time.monotonic() + LIMIT
    ready_since = time.monotonic()
    while time.monotonic() - ready_since < STEADY:
        if lacking := waiting():
            ready_since = time.monotonic()
            stage.say(lacking[0])
        if time.monotonic() > deadline:
            why = "; ".join(lacking) or "its pods come and go"
            raise ClusterError(f"the operator is not ready: {why}\n{_last_words()}")
        time.sleep(1)


def _last_words() -> str:
    """The operator's last log lines, for whoever has to find out why it does not start."""
    pods = kube.asked("get", "pods", "-n", NAMESPACE).stdout
    selector = "app.kubernetes.io/name=scoreboard-operator"
    logs = kube.asked("logs", "-n", NAMESPACE, "-l", selector, "--tail=15", "--prefix").stdout
    return f"{pods}\n{logs}"
