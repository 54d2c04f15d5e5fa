"""The Kubernetes objects of the database (pure)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator

from scoreboard_operator.api.data import BUCKETS
from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build import (
    config_map,
    config_volume,
    container,
    disruption_budget,
    empty_dir,
    http_probe,
    metadata,
    pod_spec,
    role,
    role_binding,
    secret_volume,
    selector,
    service,
    service_account,
    stateful_set,
    volume_claim,
)
from scoreboard_operator.components.database import migrations, names, patroni
from scoreboard_operator.components.database.names import Member

TEMPLATE_HASH = "scoreboard.dev/template-hash"
"""Annotation of a member's pod template: equal hashes run equal pods."""

GRACE_SECONDS = 60
"""A primary writes a shutdown checkpoint and waits for its standbys before it goes."""

SHARD_MAP_VERSION = 1


def desired(board: Board, snapshot: Snapshot) -> Iterable[Object]:
    """Everything that should exist."""
    return [
        *_access(board),
        *_configuration(board),
        *(thing for shard in names.shards(board) for thing in _shard(board, shard)),
        *migrations.jobs(board, snapshot, led(board, snapshot)),
    ]


def led(board: Board, snapshot: Snapshot) -> set[int]:
    """Shards that have a leader record."""
    return {
        shard
        for shard in names.shards(board)
        if ((snapshot.get("ConfigMap", names.leader_map(board, shard)) or {}).get("metadata", {}))
        .get("annotations", {})
        .get("leader")
    }


def member_workload(board: Board, member: Member) -> Object:
    """The StatefulSet of one member."""
    pod = _pod(board, member)
    pod_labels = names.pod_labels(board, member)
    text = json.dumps([pod_labels, pod], sort_keys=True)
    return stateful_set(
        metadata(board, member.workload, _labels(board, member)),
        selector(board, names.COMPONENT, zone=member.zone, shard=member.shard),
        pod_labels,
        pod,
        service_name=member.workload,
        pod_annotations={TEMPLATE_HASH: hashlib.sha256(text.encode()).hexdigest()[:16]},
        volume=volume_claim(
            "data",
            # Labels of a claim template are immutable: only those that never change.
            selector(board, names.COMPONENT, zone=member.zone, shard=member.shard)
            | names.patroni_labels(board),
            board.spec.database.storage.size,
            board.spec.database.storage.storage_class_name,
        ),
    )


def template_hash(workload: Object) -> str:
    """The hash a StatefulSet's pod template carries."""
    meta = workload["spec"]["template"].get("metadata", {})
    return str(meta.get("annotations", {}).get(TEMPLATE_HASH, ""))


def shard_map(board: Board) -> dict[str, object]:
    """The document services read to find a bucket's shard and a shard's servers."""
    count = board.spec.database.shards
    port = names.POSTGRES_PORT
    return {
        "version": SHARD_MAP_VERSION,
        "buckets": BUCKETS,
        "assignment": [bucket % count for bucket in range(BUCKETS)],
        "shards": [
            {
                "index": shard,
                "database": names.DATABASE,
                "primary": f"{board.host(names.primary_service(board, shard))}:{port}",
                "replicas": f"{board.host(names.replicas_service(board, shard))}:{port}",
                "members": [
                    {"zone": member.zone, "host": member.host, "port": port}
                    for member in names.members(board, shard)
                ],
            }
            for shard in names.shards(board)
        ],
    }


def _access(board: Board) -> Iterator[Object]:
    """What Patroni may do: its own ConfigMaps and pods, and no more."""
    name = names.account(board)
    maps = [each for shard in names.shards(board) for each in names.patroni_maps(board, shard)]
    pods = [member.name for member in names.all_members(board)]
    meta = metadata(board, name, names.object_labels(board))
    yield service_account(meta)
    yield role(
        meta,
        [
            # Creating and watching cannot be narrowed by name.
            {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "list", "watch"]},
            {
                "apiGroups": [""],
                "resources": ["configmaps"],
                "resourceNames": maps,
                "verbs": ["get", "patch", "update", "delete"],
            },
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]},
            {
                "apiGroups": [""],
                "resources": ["pods"],
                "resourceNames": pods,
                "verbs": ["get", "patch", "update"],
            },
        ],
    )
    yield role_binding(meta, name, name, board.namespace)


def _configuration(board: Board) -> Iterator[Object]:
    label_set = names.object_labels(board)
    yield config_map(
        metadata(board, names.settings_map(board), label_set),
        {"patroni.json": patroni.as_text(patroni.local(board))},
    )
    yield config_map(
        metadata(board, f"{board.name}-shard-map", label_set),
        {"shard-map.json": json.dumps(shard_map(board), separators=(",", ":"))},
    )


def _shard(board: Board, shard: int) -> Iterator[Object]:
    label_set = names.object_labels(board, shard=shard)
    chosen = selector(board, names.COMPONENT, shard=shard)
    postgres = {"postgresql": names.POSTGRES_PORT}
    yield service(
        metadata(board, names.primary_service(board, shard), label_set),
        chosen | {names.ROLE_LABEL: "primary"},
        postgres,
    )
    yield service(
        metadata(board, names.replicas_service(board, shard), label_set),
        chosen | {names.ROLE_LABEL: "replica"},
        postgres,
    )
    yield disruption_budget(metadata(board, names.scope(board, shard), label_set), chosen)
    for member in names.members(board, shard):
        # Patroni's members know each other by this name. It has to answer before the pod is
        # ready, and it has to outlive the pod's address.
        yield service(
            metadata(board, member.workload, _labels(board, member)),
            selector(board, names.COMPONENT, shard=shard, zone=member.zone),
            postgres | {"patroni": names.PATRONI_PORT},
            publish_not_ready=True,
        )
        yield member_workload(board, member)


def _labels(board: Board, member: Member) -> dict[str, str]:
    return names.object_labels(board, shard=member.shard, zone=member.zone)


def _pod(board: Board, member: Member) -> Object:
    resources = board.spec.database.resources
    postgres = container(
        "postgres",
        board.images.postgres,
        cpu=resources.cpu,
        memory=resources.memory,
        env={
            "SCOPE": names.scope(board, member.shard),
            "HOST": member.host,
            "PRIORITY": str(member.preference),
            "BOOTSTRAPS": "true" if member.zone == board.zones[0] else "false",
        },
        field_env={"MEMBER": "metadata.name"},
        ports={"postgresql": names.POSTGRES_PORT, "patroni": names.PATRONI_PORT},
        mounts={"data": "/data", "run": "/run/pg", "tmp": "/tmp"},  # noqa: S108 - in the pod
        read_only_mounts={
            "settings": "/etc/scoreboard/database",
            "tls": "/etc/scoreboard/tls",
            "credentials": "/etc/scoreboard/credentials",
        },
        probes={
            # Waiting for a predecessor's lock on the data volume can take its whole grace time.
            "startupProbe": http_probe(
                "/liveness", "patroni", scheme="HTTPS", period=1, failures=GRACE_SECONDS * 3
            ),
            "readinessProbe": http_probe("/readiness", "patroni", scheme="HTTPS", period=3),
            "livenessProbe": http_probe(
                "/liveness", "patroni", scheme="HTTPS", period=10, timeout=5, failures=6
            ),
        },
    )
    return pod_spec(
        [postgres],
        zone=member.zone,
        volumes=[
            empty_dir("run", memory=True, limit="16Mi"),
            empty_dir("tmp", limit="64Mi"),
            config_volume("settings", names.settings_map(board)),
            secret_volume("tls", f"{board.name}-db-tls"),
            secret_volume("credentials", f"{board.name}-db-credentials"),
        ],
        service_account=names.account(board),
        token=True,
        grace_seconds=GRACE_SECONDS,
    )
