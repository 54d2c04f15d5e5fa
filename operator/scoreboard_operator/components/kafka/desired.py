"""Objects of the brokers: a StatefulSet, a Service and a volume per zone, and what they share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.kafka.access import credentials_secret
from scoreboard_operator.components.kafka.broker_config import (
    CLIENT_PORT,
    CONFIG_DIR,
    CONTROLLER_PORT,
    CREDENTIALS_DIR,
    DATA_DIR,
    REPLICATION_PORT,
    TLS_DIR,
    broker_host,
    server_properties,
)

COMPONENT = "kafka"

RESTART_ANNOTATION = "scoreboard.dev/restart-hash"
"""Of a pod template: changes exactly when a running broker must restart to be as wanted."""

PORTS = {"client": CLIENT_PORT, "controller": CONTROLLER_PORT, "replication": REPLICATION_PORT}

GRACE_SECONDS = 60
"""A controlled shutdown hands leadership over first; that took 1.7-3.4 s on a quiet cluster."""


def desired(board: Board, snapshot: Snapshot) -> Iterable[Object]:
    """All objects of the component."""
    name = f"{board.name}-kafka"
    shared = _labels(board)
    properties = server_properties(board)
    yield build.config_map(build.metadata(board, name, shared), {"server.properties": properties})
    yield build.service_account(build.metadata(board, name, shared))
    yield build.service(
        build.metadata(board, name, shared),
        build.selector(board, COMPONENT),
        {"client": CLIENT_PORT},
    )
    yield build.disruption_budget(
        build.metadata(board, name, shared), build.selector(board, COMPONENT)
    )
    for zone in board.zones:
        # Brokers find each other before any of them is ready, so addresses are published early.
        yield build.service(
            build.metadata(board, workload(board, zone), _labels(board, zone)),
            build.selector(board, COMPONENT, zone=zone),
            PORTS,
            publish_not_ready=True,
        )
        yield _stateful_set(board, snapshot, zone, properties)


def workload(board: Board, zone: str) -> str:
    """Name of the StatefulSet and the Service of one broker."""
    return f"{board.name}-kafka-{zone}"


def workloads(board: Board) -> list[str]:
    """Names of all brokers' StatefulSets, in zone order."""
    return [workload(board, zone) for zone in board.zones]


def restart_hash(stateful_set: Object) -> str | None:
    """The hash a StatefulSet's pods are, or will be, running with."""
    annotations = stateful_set["spec"]["template"]["metadata"].get("annotations") or {}
    value: str | None = annotations.get(RESTART_ANNOTATION)
    return value


def _labels(board: Board, zone: str | None = None) -> dict[str, str]:
    version = build.image_version(board.images.kafka)
    return build.labels(board, COMPONENT, "kafka", version=version, zone=zone)


def _stateful_set(board: Board, snapshot: Snapshot, zone: str, properties: str) -> Object:
    section = board.spec.kafka
    name = workload(board, zone)
    labels = _labels(board, zone)
    pod = _pod(board, zone)
    volume = build.volume_claim(
        "data", labels, section.storage.size, section.storage.storage_class_name
    )
    # A claim template cannot change, and the version of the image does.
    volume["metadata"]["labels"].pop("app.kubernetes.io/version")
    return build.stateful_set(
        build.metadata(board, name, labels),
        build.selector(board, COMPONENT, zone=zone),
        labels,
        pod,
        service_name=name,
        pod_annotations={RESTART_ANNOTATION: _restart_hash(board, snapshot, name, properties, pod)},
        volume=volume,
    )


def _pod(board: Board, zone: str) -> Object:
    section = board.spec.kafka
    broker = build.container(
        "kafka",
        board.images.kafka,
        cpu=section.resources.cpu,
        memory=section.resources.memory,
        env={
            "NODE_ID": str(board.zones.index(zone)),
            "ZONE": zone,
            "POD_HOST": broker_host(board, zone),
            "KAFKA_HEAP": section.heap,
        },
        ports=PORTS,
        mounts={"data": DATA_DIR, "tmp": "/tmp"},  # noqa: S108  an emptyDir of the pod's own
        read_only_mounts={"config": CONFIG_DIR, "tls": TLS_DIR, "credentials": CREDENTIALS_DIR},
        probes={
            # The controller's port opens first and needs no quorum, so a broker that waits for
            # its peers, or recovers a long log, is alive; the clients' port opens last.
            "startupProbe": build.tcp_probe("controller", period=2, failures=90),
            "livenessProbe": build.tcp_probe("controller", period=10, timeout=5, failures=6),
            "readinessProbe": build.tcp_probe("client", period=2, failures=3),
        },
    )
    pod = build.pod_spec(
        [broker],
        zone=zone,
        volumes=[
            build.config_volume("config", f"{board.name}-kafka"),
            build.secret_volume("tls", f"{board.name}-kafka-tls"),
            build.secret_volume(
                "credentials", credentials_secret(board), keys=["admin-password", "cluster-id"]
            ),
            build.empty_dir("tmp", limit="64Mi"),
        ],
        grace_seconds=GRACE_SECONDS,
    )
    # Its own identity, but no token: brokers do not talk to the API server.
    pod["serviceAccountName"] = f"{board.name}-kafka"
    return pod


def _restart_hash(board: Board, snapshot: Snapshot, name: str, properties: str, pod: Object) -> str:
    """Hash of what a broker reads only at its start: configuration, certificate, its pod.

    Topic settings, users and permissions are not in it: they are applied to running brokers.
    """
    certificate = snapshot.secret_value(f"{board.name}-kafka-tls", "tls.crt")
    live = snapshot.get("StatefulSet", name)
    if certificate is None and live is not None:
        # Not seen for a moment is not a new certificate.
        return restart_hash(live) or ""
    digest = hashlib.sha256()
    for part in (properties, json.dumps(pod, sort_keys=True)):
        digest.update(part.encode() + b"\0")
    digest.update(certificate or b"")
    return digest.hexdigest()[:16]
