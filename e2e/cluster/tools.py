"""kind, kubectl and helm: those on PATH when they fit, else ours from the cache."""

from __future__ import annotations

import json
import re
import shutil
from functools import cache as once
from pathlib import Path

from . import gobuild, node_image, versions
from .config import CONTROL_PLANE
from .paths import cache
from .progress import Stage
from .shell import ClusterError, attempt

OWN_KUBECTL = cache("bin", "kubectl")


def ensure(stage: Stage) -> None:
    """Have kind and helm; kubectl comes with the node image."""
    for program, found in ((versions.KIND, kind_on_path()), (versions.HELM, helm_on_path())):
        if not found:
            gobuild.ensure(stage, program)
    stage.done(f"kind {kind()}, helm {helm()}")


def ensure_kubectl(stage: Stage, *, own_image: bool) -> None:
    """Have a kubectl that may talk to this Kubernetes: Kubernetes itself, or the node's copy."""
    if kubectl_on_path() or OWN_KUBECTL.exists():
        return
    if own_image:
        OWN_KUBECTL.unlink(missing_ok=True)
        OWN_KUBECTL.symlink_to(node_image.kubernetes(stage))
    else:
        attempt(["docker", "cp", f"{CONTROL_PLANE}:/usr/bin/kubectl", str(OWN_KUBECTL)])


@once
def kind_on_path() -> str | None:
    found = attempt(["kind", "version"]).stdout
    return shutil.which("kind") if _at_least(found, versions.KIND.version) else None


@once
def helm_on_path() -> str | None:
    found = attempt(["helm", "version", "--template", "{{.Version}}"]).stdout
    return shutil.which("helm") if _at_least(found, "v3.14.0") else None


@once
def kubectl_on_path() -> str | None:
    """kubectl may be one minor version older or newer than the API server."""
    said = attempt(["kubectl", "version", "--client", "-o", "json"]).stdout
    try:
        version = json.loads(said)["clientVersion"]["gitVersion"]
    except (ValueError, KeyError):
        return None
    skew = abs(_numbers(version)[1] - _numbers(versions.KUBERNETES)[1])
    return shutil.which("kubectl") if skew <= 1 else None


def kind() -> str:
    return kind_on_path() or str(_built(versions.KIND.path))


def helm() -> str:
    return helm_on_path() or str(_built(versions.HELM.path))


def kubectl() -> str:
    return kubectl_on_path() or str(_built(OWN_KUBECTL))


def _built(path: Path) -> Path:
    if not path.exists():
        raise ClusterError(f"{path.name} is missing; `make up` brings it")
    return path


def _numbers(version: str) -> tuple[int, int, int]:
    match = re.search(r"v?(\d+)\.(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)


def _at_least(found: str, wanted: str) -> bool:
    return _numbers(found) >= _numbers(wanted)
