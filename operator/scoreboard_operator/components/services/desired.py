"""Objects of one service: per zone a Deployment and a headless Service, and what they share.

Everything that may change while a pod runs is a mounted file (rules, shard map, keys, passwords,
certificates): the pod template holds only what needs a restart to change.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from scoreboard_operator.api.serving import Rules, Service
from scoreboard_operator.components import build
from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.services.definition import (
    HTTPS_PORT,
    METRICS_PORT,
    Definition,
)

CONFIG_DIR = "/etc/scoreboard"

GRACE_SECONDS = 30
"""The service itself stays open for 4 s after SIGTERM and then waits up to 20 s for requests."""


def desired(definition: Definition, board: Board, snapshot: Snapshot) -> Iterable[Object]:
    """All objects of one service."""
    name = f"{board.name}-{definition.name}"
    shared = _labels(definition, board)
    selector = build.selector(board, definition.name)
    ports = {"https": HTTPS_PORT}
    if definition.rules:
        meta = build.metadata(board, f"{board.name}-rules", shared)
        yield build.config_map(meta, {"rules.json": rules_json(board.spec.rules)})
    yield build.service_account(build.metadata(board, name, shared))
    yield build.service(build.metadata(board, name, shared), selector, ports)
    yield build.disruption_budget(build.metadata(board, name, shared), selector)
    for zone in board.zones:
        # One for each zone, headless: the gateway resolves a zone's ready pods by its name.
        yield build.service(
            build.metadata(board, f"{name}-{zone}", _labels(definition, board, zone)),
            build.selector(board, definition.name, zone=zone),
            ports,
            headless=True,
        )
        yield _deployment(definition, board, zone)


def workloads(definition: Definition, board: Board) -> list[str]:
    """Names of the service's Deployments, in zone order."""
    return [f"{board.name}-{definition.name}-{zone}" for zone in board.zones]


def settings(definition: Definition, board: Board) -> Service:
    """The service's own section of the spec."""
    section: Service = getattr(board.spec.services, definition.name)
    return section


def rules_json(rules: Rules) -> str:
    """The rules as the score service reads them; equal rules give equal text."""
    return json.dumps(rules.model_dump(by_alias=True), sort_keys=True, separators=(",", ":"))


def _labels(definition: Definition, board: Board, zone: str | None = None) -> dict[str, str]:
    version = build.image_version(board.images.scoreboard)
    return build.labels(board, definition.name, definition.name, version=version, zone=zone)


def _deployment(definition: Definition, board: Board, zone: str) -> Object:
    section = settings(definition, board)
    name = f"{board.name}-{definition.name}"
    selector = build.selector(board, definition.name, zone=zone)
    labels = _labels(definition, board, zone)
    container = build.container(
        definition.name,
        board.images.scoreboard,
        # The image's interpreter is the one of its virtual environment, first in its PATH.
        command=["python", "-m", definition.module],
        cpu=section.resources.cpu,
        memory=section.resources.memory,
        env=_environment(definition, board, zone),
        field_env={"POD_NAME": "metadata.name"},
        ports={"https": HTTPS_PORT, "metrics": METRICS_PORT},
        mounts={"tmp": "/tmp"},  # noqa: S108  an emptyDir of the pod's own
        read_only_mounts=_mounts(definition),
        probes={
            # Connecting to every shard, broker and cache node takes long on a busy machine;
            # readiness tells when it is done, this only tells a process that never came up.
            "startupProbe": build.http_probe("/livez", "metrics", period=2, failures=90),
            "livenessProbe": build.http_probe("/livez", "metrics", period=10, timeout=5),
            "readinessProbe": build.http_probe("/readyz", "metrics", period=3, failures=2),
        },
    )
    pod = build.pod_spec(
        [container],
        zone=zone,
        volumes=_volumes(definition, board),
        service_account=name,
        grace_seconds=GRACE_SECONDS,
        spread_over=selector,
    )
    return build.deployment(
        build.metadata(board, f"{name}-{zone}", labels),
        selector,
        labels,
        pod,
        replicas=section.replicas_per_zone,
    )


def _environment(definition: Definition, board: Board, zone: str) -> dict[str, str]:
    return {
        "SCOREBOARD_NAME": board.name,
        "SCOREBOARD_NAMESPACE": board.namespace,
        "SCOREBOARD_ZONE": zone,
        "SCOREBOARD_VERSION": build.image_version(board.images.scoreboard),
        "KAFKA_BOOTSTRAP": f"{board.host(f'{board.name}-kafka')}:9092",
        "CACHE_NODES": ",".join(cache_nodes(board)),
        "CONFIG_DIR": CONFIG_DIR,
        "LOG_LEVEL": settings(definition, board).log_level,
    }


def cache_nodes(board: Board) -> list[str]:
    """``host:port`` of every cache pod; any one of them tells a client about the others."""
    domain = board.host(f"{board.name}-cache")
    # A single zone has a lone node: a replica beside its primary would die with it.
    in_each_zone = 2 if len(board.zones) > 1 else 1
    return [
        f"{board.name}-cache-{zone}-{ordinal}.{domain}:6379"
        for zone in board.zones
        for ordinal in range(in_each_zone)
    ]


def _mounts(definition: Definition) -> dict[str, str]:
    names = ["tls", "credentials", *(volume for volume, _ in definition.secrets), "shard-map"]
    if definition.rules:
        names.append("rules")
    return {name: f"{CONFIG_DIR}/{name}" for name in names}


def _volumes(definition: Definition, board: Board) -> list[Object]:
    name = f"{board.name}-{definition.name}"
    volumes = [
        build.secret_volume("tls", f"{name}-tls"),
        build.secret_volume("credentials", f"{name}-credentials"),
    ]
    for volume, suffix in definition.secrets:
        volumes.append(build.secret_volume(volume, f"{board.name}-{suffix}"))
    volumes.append(build.config_volume("shard-map", f"{board.name}-shard-map"))
    if definition.rules:
        volumes.append(build.config_volume("rules", f"{board.name}-rules"))
    volumes.append(build.empty_dir("tmp", limit="64Mi"))
    return volumes
