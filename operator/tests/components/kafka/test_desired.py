"""Objects of the brokers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from boards import IMAGES, ZONES, board, snapshot

from scoreboard_operator.components.base import Board, Object
from scoreboard_operator.components.kafka import COMPONENT
from scoreboard_operator.components.kafka.broker_config import server_properties
from scoreboard_operator.components.kafka.desired import restart_hash

from .model import running, secrets, workloads


def objects(of: Board) -> dict[tuple[str, str], Object]:
    found = list(COMPONENT.desired(of, snapshot(*secrets())))
    by_key = {(item["kind"], item["metadata"]["name"]): item for item in found}
    assert len(by_key) == len(found), "no object twice"
    return by_key


def properties(of: Board) -> dict[str, str]:
    lines = [line for line in server_properties(of).splitlines() if not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    assert len({key for key, _ in pairs}) == len(pairs), "no key twice"
    return dict(pairs)  # type: ignore[arg-type]


def hashes(of: Board, **passwords: str) -> dict[str, str | None]:
    seen = snapshot(*secrets(**passwords))
    return {zone: restart_hash(item) for zone, item in workloads(of, seen).items()}


def test_names() -> None:
    brokers = [f"demo-kafka-{zone}" for zone in ZONES]
    assert sorted(objects(board())) == sorted(
        [
            ("ConfigMap", "demo-kafka"),
            ("PodDisruptionBudget", "demo-kafka"),
            ("Service", "demo-kafka"),
            ("ServiceAccount", "demo-kafka"),
            *(("Service", name) for name in brokers),
            *(("StatefulSet", name) for name in brokers),
        ]
    )


def test_every_object_and_pod_carries_the_standard_labels() -> None:
    for item in objects(board()).values():
        carriers = [item["metadata"]]
        if item["kind"] == "StatefulSet":
            carriers.append(item["spec"]["template"]["metadata"])
        for carrier in carriers:
            labels = carrier["labels"]
            assert labels["app.kubernetes.io/name"] == "kafka"
            assert labels["app.kubernetes.io/component"] == "kafka"
            assert labels["app.kubernetes.io/part-of"] == "scoreboard"
            assert labels["app.kubernetes.io/managed-by"] == "scoreboard-operator"
            assert labels["scoreboard.dev/scoreboard"] == "demo"


@pytest.mark.parametrize("zone", ZONES)
def test_pods_are_restricted_and_in_their_zone(zone: str) -> None:
    item = objects(board())["StatefulSet", f"demo-kafka-{zone}"]
    pod = item["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    affinity = pod["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == [zone]
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)
    env = {each["name"]: each["value"] for each in container["env"]}
    assert env["NODE_ID"] == str(ZONES.index(zone))
    assert env["ZONE"] == zone
    assert env["POD_HOST"] == f"demo-kafka-{zone}.demo.svc"


def test_pods_hold_no_password_but_those_of_the_format() -> None:
    pod = objects(board())["StatefulSet", "demo-kafka-zone-a"]["spec"]["template"]["spec"]
    secrets_of = {v["name"]: v["secret"] for v in pod["volumes"] if "secret" in v}
    keys = [item["key"] for item in secrets_of["credentials"]["items"]]
    assert keys == ["admin-password", "cluster-id"]


def test_brokers_are_found_before_they_are_ready_and_clients_find_ready_ones() -> None:
    found = objects(board())
    assert found["Service", "demo-kafka-zone-b"]["spec"]["publishNotReadyAddresses"] is True
    assert "publishNotReadyAddresses" not in found["Service", "demo-kafka"]["spec"]
    assert [p["port"] for p in found["Service", "demo-kafka"]["spec"]["ports"]] == [9092]


def test_configuration_of_three_zones() -> None:
    found = properties(board())
    assert found["controller.quorum.voters"] == (
        "0@demo-kafka-zone-a.demo.svc:9093,1@demo-kafka-zone-b.demo.svc:9093,"
        "2@demo-kafka-zone-c.demo.svc:9093"
    )
    for key, value in found.items():
        if key.endswith("replication.factor"):
            assert value == "3", key
        if key.endswith(("min.isr", "min.insync.replicas")):
            assert value == "2", key
    assert found["auto.create.topics.enable"] == "false"
    assert found["allow.everyone.if.no.acl.found"] == "false"
    assert found["log.dirs"].startswith("/var/lib/kafka/"), "a folder inside the volume"


def test_configuration_of_one_zone() -> None:
    found = properties(board(zones=("zone-a",)))
    factors = {v for k, v in found.items() if k.endswith(("replication.factor", "min.isr"))}
    assert factors == {"1"}
    assert found["min.insync.replicas"] == "1"


@pytest.mark.parametrize(
    "spec",
    [
        {"kafka": {"topics": {"score_updates": {"partitions": 12, "retentionHours": 1}}}},
        {"services": {"score": {"replicasPerZone": 3}}},
        {"cache": {"maxMemory": "2Gi"}},
    ],
)
def test_what_is_applied_live_restarts_no_broker(spec: dict[str, Any]) -> None:
    assert hashes(board(spec)) == hashes(board())


def test_a_password_restarts_no_broker() -> None:
    assert hashes(board(), admin="another", score="another") == hashes(board())


def test_what_a_broker_reads_at_its_start_restarts_it() -> None:
    before = hashes(board())
    heap = hashes(board({"kafka": {"heap": "256m"}}))
    image = hashes(replace(board(), images=replace(IMAGES, kafka="scoreboard/kafka:2")))
    certificate = hashes(board(), certificate="renewed")
    for zone in ZONES:
        assert len({found[zone] for found in (before, heap, image, certificate)}) == 4


def test_a_certificate_out_of_sight_restarts_no_broker() -> None:
    seen = running()
    gone = {key: value for key, value in seen.objects.items() if key[1] != "demo-kafka-tls"}
    before = workloads(board(), seen)
    after = workloads(board(), replace(seen, objects=gone))
    assert before == after


def test_claims_never_change() -> None:
    first = objects(board())["StatefulSet", "demo-kafka-zone-a"]
    newer = replace(board(), images=replace(IMAGES, kafka="scoreboard/kafka:2"))
    second = objects(newer)["StatefulSet", "demo-kafka-zone-a"]
    assert first["spec"]["volumeClaimTemplates"] == second["spec"]["volumeClaimTemplates"]
    (claim,) = first["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["labels"]["scoreboard.dev/zone"] == "zone-a"
