"""Objects around pods: Services, workloads, budgets, accounts, roles, ConfigMaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scoreboard_operator.components.base import Object


def service(
    metadata: Object,
    selector: Mapping[str, str],
    ports: Mapping[str, int],
    *,
    headless: bool = False,
    publish_not_ready: bool = False,
    kind: str = "ClusterIP",
    node_ports: Mapping[str, int] | None = None,
) -> Object:
    """A Service whose port numbers equal the pods'; ``node_ports`` pins some by name."""
    built: list[Object] = []
    for name, number in ports.items():
        port: Object = {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}
        if node_ports and name in node_ports:
            port["nodePort"] = node_ports[name]
        built.append(port)
    spec: Object = {"type": kind, "selector": dict(selector), "ports": built}
    if headless:
        spec["clusterIP"] = "None"
    if publish_not_ready:
        spec["publishNotReadyAddresses"] = True
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def stateful_set(
    metadata: Object,
    selector: Mapping[str, str],
    pod_labels: Mapping[str, str],
    pod: Object,
    *,
    service_name: str,
    replicas: int = 1,
    pod_annotations: Mapping[str, str] | None = None,
    volume: Object | None = None,
    parallel: bool = True,
) -> Object:
    """A StatefulSet; ``volume`` is a PersistentVolumeClaim template.

    Claims are retained when the set goes: the deletion policy of the Scoreboard decides
    about data, never the garbage collector.
    """
    spec: Object = {
        "replicas": replicas,
        "serviceName": service_name,
        "podManagementPolicy": "Parallel" if parallel else "OrderedReady",
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": dict(selector)},
        "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
        "template": _template(pod_labels, pod, pod_annotations),
    }
    if volume is not None:
        spec["volumeClaimTemplates"] = [volume]
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}


def volume_claim(
    name: str, label_set: Mapping[str, str], size: str, storage_class: str | None
) -> Object:
    """A PersistentVolumeClaim template for :func:`stateful_set`."""
    spec: Object = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
    }
    if storage_class is not None:
        spec["storageClassName"] = storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "labels": dict(label_set)},
        "spec": spec,
    }


def deployment(
    metadata: Object,
    selector: Mapping[str, str],
    pod_labels: Mapping[str, str],
    pod: Object,
    *,
    replicas: int,
    pod_annotations: Mapping[str, str] | None = None,
) -> Object:
    """A Deployment that brings a new pod up before it takes an old one down."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 2,
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": dict(selector)},
            "template": _template(pod_labels, pod, pod_annotations),
        },
    }


def disruption_budget(
    metadata: Object, selector: Mapping[str, str], *, max_unavailable: int = 1
) -> Object:
    """A PodDisruptionBudget: at most ``max_unavailable`` of the pods may be evicted at once."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata,
        "spec": {
            "maxUnavailable": max_unavailable,
            "selector": {"matchLabels": dict(selector)},
        },
    }


def config_map(metadata: Object, data: Mapping[str, str]) -> Object:
    """A ConfigMap."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def service_account(metadata: Object) -> Object:
    """A ServiceAccount; pods opt in to its token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata,
        "automountServiceAccountToken": False,
    }


def role(metadata: Object, rules: list[dict[str, Any]]) -> Object:
    """A Role."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": metadata,
        "rules": rules,
    }


def role_binding(metadata: Object, role_name: str, account: str, namespace: str) -> Object:
    """A RoleBinding of one Role to one ServiceAccount."""
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata,
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": role_name,
        },
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }


def _template(
    pod_labels: Mapping[str, str], pod: Object, annotations: Mapping[str, str] | None
) -> Object:
    meta: Object = {"labels": dict(pod_labels)}
    if annotations:
        meta["annotations"] = dict(annotations)
    return {"metadata": meta, "spec": pod}
