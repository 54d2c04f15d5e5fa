"""Pods under the restricted Pod Security standard, pinned to a zone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from scoreboard_operator.components.base import ZONE_LABEL, Object

USER_ID = 10001


def container(
    name: str,
    image: str,
    *,
    cpu: str,
    memory: str,
    memory_request: str | None = None,
    args: list[str] | None = None,
    command: list[str] | None = None,
    env: Mapping[str, str] | None = None,
    field_env: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    mounts: Mapping[str, str] | None = None,
    read_only_mounts: Mapping[str, str] | None = None,
    probes: Mapping[str, Object] | None = None,
    pre_stop: list[str] | None = None,
) -> Object:
    """One container: non-root, no capabilities, read-only root file system.

    ``mounts`` and ``read_only_mounts`` map volume names to paths; ``field_env`` maps variables to
    downward-API field paths; ``probes`` maps ``readinessProbe`` and so on to their bodies.
    There is no CPU limit on purpose: throttling turns spare cores into latency.
    """
    built: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "resources": {
            "requests": {"cpu": cpu, "memory": memory_request or memory},
            "limits": {"memory": memory},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if command:
        built["command"] = command
    if args:
        built["args"] = args
    variables: list[Object] = [{"name": k, "value": v} for k, v in (env or {}).items()]
    variables += [
        {"name": k, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}}
        for k, path in (field_env or {}).items()
    ]
    if variables:
        built["env"] = variables
    if ports:
        built["ports"] = [
            {"name": k, "containerPort": v, "protocol": "TCP"} for k, v in ports.items()
        ]
    all_mounts: list[Object] = [{"name": k, "mountPath": v} for k, v in (mounts or {}).items()]
    all_mounts += [
        {"name": k, "mountPath": v, "readOnly": True} for k, v in (read_only_mounts or {}).items()
    ]
    if all_mounts:
        built["volumeMounts"] = all_mounts
    built.update(probes or {})
    if pre_stop:
        built["lifecycle"] = {"preStop": {"exec": {"command": pre_stop}}}
    return built


def pod_spec(
    containers: list[Object],
    *,
    zone: str | Sequence[str],
    volumes: Iterable[Object] = (),
    service_account: str | None = None,
    token: bool = False,
    grace_seconds: int = 30,
    init_containers: list[Object] | None = None,
    restart_policy: str | None = None,
    spread_over: Mapping[str, str] | None = None,
) -> Object:
    """Pod spec bound to the nodes of ``zone`` (of any of them when there are several).

    ``service_account`` is the pod's identity; only with ``token`` may it talk to the API server.
    ``spread_over`` (a pod selector)
    spreads pods over the nodes of the zone where there are several.
    """
    spec: Object = {
        "containers": containers,
        "automountServiceAccountToken": token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {
                            "matchExpressions": [
                                {
                                    "key": ZONE_LABEL,
                                    "operator": "In",
                                    "values": [zone] if isinstance(zone, str) else list(zone),
                                }
                            ]
                        }
                    ]
                }
            }
        },
    }
    if service_account is not None:
        spec["serviceAccountName"] = service_account
    if spread_over:
        spec["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": dict(spread_over)},
            }
        ]
    volume_list = list(volumes)
    if volume_list:
        spec["volumes"] = volume_list
    if init_containers:
        spec["initContainers"] = init_containers
    if restart_policy:
        spec["restartPolicy"] = restart_policy
    return spec


def secret_volume(name: str, secret: str, *, keys: list[str] | None = None) -> Object:
    """A Secret as files readable by the pod's group only; ``keys`` narrows it."""
    source: Object = {"secretName": secret, "defaultMode": 0o440}
    if keys:
        source["items"] = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": source}


def config_volume(name: str, config: str) -> Object:
    """A ConfigMap as files."""
    return {"name": name, "configMap": {"name": config, "defaultMode": 0o444}}


def empty_dir(name: str, *, memory: bool = False, limit: str | None = None) -> Object:
    """Scratch space that lives as long as the pod; ``memory`` keeps it in RAM."""
    body: Object = {}
    if memory:
        body["medium"] = "Memory"
    if limit:
        body["sizeLimit"] = limit
    return {"name": name, "emptyDir": body}


def http_probe(
    path: str,
    port: int | str,
    *,
    scheme: str = "HTTP",
    period: int = 5,
    timeout: int = 3,
    failures: int = 3,
    delay: int | None = None,
) -> Object:
    """HTTP probe; seconds throughout."""
    probe: Object = {
        "httpGet": {"path": path, "port": port, "scheme": scheme},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
    if delay is not None:
        probe["initialDelaySeconds"] = delay
    return probe


def tcp_probe(port: int | str, *, period: int = 5, timeout: int = 3, failures: int = 3) -> Object:
    """TCP connect probe; seconds throughout."""
    return {
        "tcpSocket": {"port": port},
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": failures,
    }
