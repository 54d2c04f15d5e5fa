"""The resource kinds the operator reads or writes, and their paths."""

from __future__ import annotations

from dataclasses import dataclass

from scoreboard_operator.api import API_VERSION, KIND, PLURAL


@dataclass(frozen=True)
class Kind:
    """One resource kind; ``watched`` kinds are kept in the cache."""

    name: str
    api_version: str
    plural: str
    namespaced: bool = True
    watched: bool = True
    order: int = 50

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """URL path of the collection or of one object; all namespaces when none is given."""
        prefix = "/api/" if "/" not in self.api_version else "/apis/"
        parts = [prefix + self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


# ``order`` is the order of creation: what others refer to comes first.
_KINDS = (
    Kind("ServiceAccount", "v1", "serviceaccounts", order=10),
    Kind("Role", "rbac.authorization.k8s.io/v1", "roles", order=11),
    Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", order=12),
    Kind("Secret", "v1", "secrets", order=20),
    Kind("ConfigMap", "v1", "configmaps", order=21),
    Kind("Service", "v1", "services", order=30),
    Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", order=31),
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", order=32),
    Kind("StatefulSet", "apps/v1", "statefulsets", order=60),
    Kind("Deployment", "apps/v1", "deployments", order=61),
    Kind("Job", "batch/v1", "jobs", order=62),
    Kind("Pod", "v1", "pods"),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims"),
    Kind("Node", "v1", "nodes", namespaced=False, watched=False),
    Kind("Event", "v1", "events", watched=False),
    Kind("Lease", "coordination.k8s.io/v1", "leases", watched=False),
    Kind(KIND, API_VERSION, PLURAL, watched=False),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}

WORKLOADS = frozenset({"StatefulSet", "Deployment"})
"""Kinds whose updates restart pods and therefore wait for their turn."""
