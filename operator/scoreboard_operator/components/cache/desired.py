"""The cache's objects: one StatefulSet per zone, one headless Service, one budget, one ConfigMap.

nodes.conf lives in an emptyDir on purpose. It survives a container restart, which keeps the
node's identity; it goes with the pod, so a pod that returns is an empty node with a new name and
can never claim slots with the authority of data it no longer has. The operator heals it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build import (
    config_map,
    config_volume,
    container,
    disruption_budget,
    empty_dir,
    image_version,
    labels,
    metadata,
    pod_spec,
    secret_volume,
    selector,
    service,
    stateful_set,
    tcp_probe,
)
from scoreboard_operator.components.cache import node_config
from scoreboard_operator.components.cache.layout import (
    BUS_PORT,
    PORT,
    REPLICAS_PER_ZONE,
    service_name,
    workload_name,
)

COMPONENT = "cache"
SOFTWARE = "redis"
TEMPLATE_HASH = "scoreboard.dev/template-hash"
CONFIG_HASH = "scoreboard.dev/config-hash"


def desired(board: Board, snapshot: Snapshot) -> Iterator[Object]:
    """All objects of the cache.

    Raises :class:`UserError` when the memory settings contradict each other.
    """
    node_config.check_memory(board)
    yield _config(board)
    yield service(
        metadata(board, service_name(board), _labels(board)),
        selector(board, COMPONENT),
        {"redis": PORT, "bus": BUS_PORT},
        headless=True,
        # Nodes must find each other before they are ready, or they never become it.
        publish_not_ready=True,
    )
    yield disruption_budget(
        metadata(board, service_name(board), _labels(board)), selector(board, COMPONENT)
    )
    for zone in board.zones:
        yield zone_workload(board, zone)


def zone_workload(board: Board, zone: str) -> Object:
    """The StatefulSet of one zone; its annotation tells its template's revision."""
    name = workload_name(board, zone)
    label_set = _labels(board, zone)
    built = stateful_set(
        metadata(board, name, label_set),
        selector(board, COMPONENT, zone=zone),
        label_set,
        _pod(board, zone),
        service_name=service_name(board),
        replicas=REPLICAS_PER_ZONE if len(board.zones) > 1 else 1,
        pod_annotations={CONFIG_HASH: _hash(node_config.redis_conf() + node_config.acl_rules())},
    )
    template = json.dumps(built["spec"]["template"], sort_keys=True)
    built["metadata"]["annotations"] = {TEMPLATE_HASH: _hash(template)}
    return built


def _config(board: Board) -> Object:
    return config_map(
        metadata(board, f"{service_name(board)}-config", _labels(board)),
        {
            "redis.conf": node_config.redis_conf(),
            "live.conf": node_config.live_conf(board),
            "users.acl": node_config.acl_rules(),
        },
    )


def _pod(board: Board, zone: str) -> Object:
    resources = board.spec.cache.resources
    liveness: Object = {
        "exec": {"command": ["cache-node", "alive"]},
        "periodSeconds": 20,
        "timeoutSeconds": 6,
        "failureThreshold": 4,
    }
    redis = container(
        "redis",
        board.images.redis,
        cpu=resources.cpu,
        memory=resources.memory,
        memory_request=node_config.memory_request(resources.memory),
        args=["start"],
        env={"CACHE_SERVICE": service_name(board)},
        field_env={
            "POD_NAME": "metadata.name",
            "POD_NAMESPACE": "metadata.namespace",
            "POD_IP": "status.podIP",
        },
        ports={"redis": PORT, "bus": BUS_PORT},
        mounts={"data": "/data", "run": "/run/redis", "tmp": "/tmp"},  # noqa: S108 - its own
        read_only_mounts={
            "config": "/etc/scoreboard/cache",
            "tls": "/etc/scoreboard/tls",
            "credentials": "/etc/scoreboard/credentials",
        },
        # Ready means "listens", never "the cluster is whole": a cluster is formed of ready pods.
        # Of the two ports the bus takes a connection without TLS silently; the other would write
        # a warning into the log at every probe.
        probes={"readinessProbe": tcp_probe(BUS_PORT), "livenessProbe": liveness},
        pre_stop=["cache-node", "hand-over"],
    )
    users = ("operator", "replication", *node_config.SERVICE_USERS)
    return pod_spec(
        [redis],
        zone=zone,
        volumes=[
            empty_dir("data", limit="64Mi"),
            empty_dir("run", memory=True, limit="1Mi"),
            empty_dir("tmp", limit="16Mi"),
            config_volume("config", f"{service_name(board)}-config"),
            secret_volume("tls", f"{service_name(board)}-tls"),
            secret_volume(
                "credentials",
                f"{service_name(board)}-credentials",
                keys=[f"{user}-password" for user in users],
            ),
        ],
        # Hand-over of the primary role and Redis' own wait for replicas: ten seconds each.
        grace_seconds=30,
        spread_over=selector(board, COMPONENT, zone=zone),
    )


def _labels(board: Board, zone: str | None = None) -> dict[str, str]:
    version = image_version(board.images.redis)
    return labels(board, COMPONENT, SOFTWARE, version=version, zone=zone)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
