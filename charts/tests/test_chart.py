"""The operator's chart, rendered by the real helm."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import tools
from scoreboard_operator.api import PLURAL
from scoreboard_operator.kube.kinds import KINDS

CHART = Path(__file__).parents[1] / "scoreboard-operator"


def _helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [tools.helm(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@cache
def _rendered(*settings: str) -> tuple[dict[str, Any], ...]:
    flags = [f"--set={setting}" for setting in settings]
    result = _helm("template", "op", str(CHART), "--namespace=system", *flags)
    assert result.returncode == 0, result.stderr
    return tuple(document for document in yaml.safe_load_all(result.stdout) if document)


def _one(kind: str, *settings: str) -> dict[str, Any]:
    (found,) = [d for d in _rendered(*settings) if d["kind"] == kind]
    return found


def test_lint() -> None:
    result = _helm("lint", "--strict", str(CHART))
    assert result.returncode == 0, result.stdout


def test_operator_pod_is_restricted() -> None:
    pod = _one("Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


def test_two_replicas_spread_over_zones_with_a_budget() -> None:
    deployment = _one("Deployment")
    assert deployment["spec"]["replicas"] == 2
    (spread,) = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"]
    assert spread["topologyKey"] == "topology.kubernetes.io/zone"
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for other in (spread["labelSelector"], _one("PodDisruptionBudget")["spec"]["selector"]):
        assert other["matchLabels"].items() <= labels.items()


def test_every_image_reaches_the_operator() -> None:
    names = ("scoreboard", "postgres", "kafka", "redis", "envoy")
    settings = tuple(f"images.{name}=registry.example/{name}:7" for name in names)
    (container,) = _one("Deployment", *settings)["spec"]["template"]["spec"]["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    for name in names:
        assert environment[f"RELATED_IMAGE_{name.upper()}"] == f"registry.example/{name}:7"


def test_crds_come_with_the_chart_and_stay_when_it_goes() -> None:
    crd = _one("CustomResourceDefinition")
    assert crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    without = _rendered("crds.install=false")
    assert not [d for d in without if d["kind"] == "CustomResourceDefinition"]


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("replicas=0", "replicas"),
        ("logLevel=loud", "logLevel"),
        ("images.kafka=", "kafka"),
        ("imagez.kafka=x", "imagez"),
    ],
)
def test_bad_values_are_refused_by_name(setting: str, named: str) -> None:
    result = _helm("template", "op", str(CHART), f"--set={setting}")
    assert result.returncode != 0
    assert named in result.stderr


def _granted() -> dict[str, set[str]]:
    """Resource -> verbs over all cluster-wide rules."""
    found: dict[str, set[str]] = {}
    for rule in _one("ClusterRole")["rules"]:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


# What Patroni's own Role holds; nobody can grant what they do not have.
_PATRONI = {"configmaps": {"get", "update"}, "pods": {"get", "update"}}
_OTHER = {
    PLURAL: {"list", "watch", "get", "patch"},  # kopf reads and sets the finalizer
    f"{PLURAL}/status": {"patch"},
    f"{PLURAL}/finalizers": {"update"},
    "nodes": {"list", "watch"},
    "events": {"create"},
    "pods": {"list", "watch", "patch", "delete"},
    "persistentvolumeclaims": {"list", "watch", "delete"},
}


def _used() -> dict[str, set[str]]:
    """Resource -> verbs the code uses: watched kinds are listed, applied and pruned."""
    used = {
        kind.plural: {"list", "watch", "create", "patch", "delete"}
        for kind in KINDS.values()
        if kind.watched and kind.plural not in _OTHER
    }
    used["secrets"].add("get")  # Secrets the spec names
    for extra in (_OTHER, _PATRONI):
        for resource, verbs in extra.items():
            used[resource] = used.get(resource, set()) | verbs
    return used


def test_rights_are_what_is_used_and_no_more() -> None:
    assert _granted() == _used()
