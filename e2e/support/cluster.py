"""The Kubernetes API through pykube-ng, and kubectl where only it will do (exec, apply, logs)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pykube
import yaml

from e2e.cluster import tools
from e2e.cluster.paths import KUBECONFIG
from e2e.cluster.shell import environment

Object = dict[str, Any]

_JSON = {"Content-Type": "application/json"}
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}

_CORE = "v1"
_PLACES = {
    "Namespace": (_CORE, "namespaces"),
    "Node": (_CORE, "nodes"),
    "Pod": (_CORE, "pods"),
    "Secret": (_CORE, "secrets"),
    "ConfigMap": (_CORE, "configmaps"),
    "Service": (_CORE, "services"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims"),
    "StatefulSet": ("apps/v1", "statefulsets"),
    "Deployment": ("apps/v1", "deployments"),
    "Job": ("batch/v1", "jobs"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("networking.k8s.io/v1", "networkpolicies"),
    "Role": ("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": ("rbac.authorization.k8s.io/v1", "rolebindings"),
    "CustomResourceDefinition": ("apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "Scoreboard": ("scoreboard.dev/v1alpha1", "scoreboards"),
}

OWNED_KINDS = (
    "Pod",
    "Secret",
    "ConfigMap",
    "Service",
    "ServiceAccount",
    "StatefulSet",
    "Deployment",
    "Job",
    "PodDisruptionBudget",
    "NetworkPolicy",
    "Role",
    "RoleBinding",
)
"""Kinds a Scoreboard is made of, data volumes aside."""


class CommandFailed(AssertionError):  # noqa: N818 - it fails the test that ran the command
    """A command ended with an error; the text is what it said."""


@cache
def client() -> pykube.HTTPClient:
    """One connection to the local cluster and no other."""
    return pykube.HTTPClient(pykube.KubeConfig.from_file(str(KUBECONFIG)), timeout=30)


def get(kind: str, namespace: str | None, name: str) -> Object | None:
    """An object, or None when it does not exist."""
    answer = client().get(**_at(kind, namespace, name))
    return None if answer.status_code == 404 else _object(answer)


def need(kind: str, namespace: str | None, name: str) -> Object:
    """An object that has to exist; AssertionError otherwise."""
    found = get(kind, namespace, name)
    assert found is not None, f"{kind} {namespace}/{name} does not exist"
    return found


def listing(kind: str, namespace: str | None, selector: str = "") -> list[Object]:
    """Objects of a namespace (of all, or cluster-wide, when None), by label selector."""
    params = {"labelSelector": selector} if selector else {}
    items: list[Object] = _object(client().get(**_at(kind, namespace), params=params))["items"]
    return [{"kind": kind, **item} for item in items]


def patch(kind: str, namespace: str | None, name: str, change: Object) -> Object:
    """Merge-patch an object as somebody who is not the operator."""
    return _object(
        client().patch(
            **_at(kind, namespace, name),
            params={"fieldManager": "e2e"},
            headers=_MERGE_PATCH,
            data=json.dumps(change),
        )
    )


def delete(
    kind: str,
    namespace: str | None,
    name: str,
    *,
    grace: int | None = None,
    propagation: str = "Background",
) -> None:
    """Delete an object; one that is not there is fine."""
    options: Object = {"propagationPolicy": propagation}
    if grace is not None:
        options["gracePeriodSeconds"] = grace
    answer = client().delete(**_at(kind, namespace, name), data=json.dumps(options))
    assert answer.status_code in (200, 202, 404), answer.text


def refusal(manifest: Object, change: Object | None = None) -> str:
    """Why the API server refuses a manifest, checked as for `kubectl apply`; empty if it does not.

    With ``change`` the question is about a merge patch of the object that is there. Nothing is
    stored either way.
    """
    meta = manifest["metadata"]
    params = {"dryRun": "All", "fieldValidation": "Strict"}
    kind, namespace = manifest["kind"], meta["namespace"]
    if change is None:
        answer = client().post(
            **_at(kind, namespace), params=params, data=json.dumps(manifest), headers=_JSON
        )
    else:
        answer = client().patch(
            **_at(kind, namespace, meta["name"]),
            params=params,
            data=json.dumps(change),
            headers=_MERGE_PATCH,
        )
    return "" if answer.status_code < 300 else str(answer.json()["message"])


def raw(path: str) -> str:
    """The answer of the API server (or of a pod behind its proxy) at a path, as text."""
    api = client()
    answer = api.session.get(api.url + path, timeout=30)
    answer.raise_for_status()
    return str(answer.text)


def kubectl(
    *arguments: str, stdin: str | None = None, limit: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run kubectl against the local cluster; its failure is an answer like any other."""
    return subprocess.run(
        [tools.kubectl(), *arguments],
        input=stdin,
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        text=True,
        timeout=limit,
        env=environment({"KUBECONFIG": str(KUBECONFIG)}),
        check=False,
    )


def said(result: subprocess.CompletedProcess[str]) -> str:
    """Standard output of a command that has to succeed."""
    if result.returncode != 0:
        raise CommandFailed(f"{' '.join(result.args)}\n{result.stderr or result.stdout}")
    return result.stdout


def execute(
    namespace: str, pod: str, command: Sequence[str], *, stdin: str | None = None, limit: float = 60
) -> str:
    """Standard output of a command inside a pod's first container."""
    flags = ["-i"] if stdin is not None else []
    return said(
        kubectl("exec", "-n", namespace, *flags, pod, "--", *command, stdin=stdin, limit=limit)
    )


def apply(*manifests: Object, dry_run: bool = False) -> subprocess.CompletedProcess[str]:
    """`kubectl apply`, as a user would; a ``dry_run`` is judged and not stored."""
    flags = ["--dry-run=server"] if dry_run else []
    return kubectl("apply", *flags, "-f", "-", stdin=yaml.safe_dump_all(manifests))


def namespace(name: str) -> Object:
    """A namespace in which the restricted Pod Security standard is enforced."""
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": level}}


def labels_of(item: Object) -> Mapping[str, str]:
    """Labels of an object."""
    found: Mapping[str, str] = item["metadata"].get("labels", {})
    return found


def zones() -> dict[str, str]:
    """Node name -> zone, for nodes that are in one."""
    key = "topology.kubernetes.io/zone"
    nodes = listing("Node", None)
    return {n["metadata"]["name"]: labels_of(n)[key] for n in nodes if key in labels_of(n)}


def _at(kind: str, namespace: str | None, name: str = "") -> dict[str, Any]:
    version, plural = _PLACES[kind]
    place = {"version": version, "url": f"{plural}/{name}" if name else plural}
    return {**place, "namespace": namespace} if namespace else place


def _object(answer: Any) -> Object:
    assert answer.status_code < 400, f"{answer.request.method} {answer.url}: {answer.text}"
    found: Object = answer.json()
    return found
