"""The objects: names, zones, restricted pods, stable hashes, access, shard map, Jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from boards import board, snapshot

from scoreboard_operator.components.base import ZONE_LABEL, Object, Snapshot
from scoreboard_operator.components.database import migrations, names, patroni
from scoreboard_operator.components.database.desired import desired, template_hash

from .model import Running


def objects(spec: dict[str, Any] | None = None, **kw: Any) -> dict[tuple[str, str], Object]:
    return {(o["kind"], o["metadata"]["name"]): o for o in desired(board(spec, **kw), Snapshot())}


def pod_specs(found: dict[tuple[str, str], Object]) -> Iterator[Object]:
    for (kind, _), item in found.items():
        if kind in ("StatefulSet", "Job"):
            yield item["spec"]["template"]["spec"]


def test_every_member_has_a_workload_and_a_stable_name() -> None:
    found = objects()
    for shard in range(4):
        for zone in ("zone-a", "zone-b", "zone-c"):
            name = f"demo-db-{shard}-{zone}"
            workload, service = found["StatefulSet", name], found["Service", name]
            assert workload["spec"]["replicas"] == 1
            assert service["spec"]["publishNotReadyAddresses"] is True
            assert {p["port"] for p in service["spec"]["ports"]} == {5432, 8008}
            labels = workload["spec"]["template"]["metadata"]["labels"]
            assert service["spec"]["selector"].items() <= labels.items()
            assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
            assert labels["scoreboard.dev/cluster"] == f"demo-db-{shard}"
    kinds = [kind for kind, _ in found]
    assert kinds.count("StatefulSet") == 12
    assert kinds.count("PodDisruptionBudget") == 4
    assert kinds.count("Role") == 1


def test_pods_are_pinned_to_their_zone() -> None:
    for (kind, _), item in objects().items():
        if kind != "StatefulSet":
            continue
        affinity = item["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
        assert terms == [
            {
                "matchExpressions": [
                    {
                        "key": ZONE_LABEL,
                        "operator": "In",
                        "values": [item["metadata"]["labels"]["scoreboard.dev/zone"]],
                    }
                ]
            }
        ]


def test_every_pod_satisfies_restricted_pod_security() -> None:
    running = Running(board())
    found = {
        (o["kind"], o["metadata"]["name"]): o for o in desired(running.board, running.snapshot)
    }
    specs = list(pod_specs(found))
    assert len(specs) == 16
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            assert not spec.get(key)
        for volume in spec["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "secret", "configMap"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}


def test_probes_reach_patroni_over_tls() -> None:
    spec = objects()["StatefulSet", "demo-db-0-zone-b"]["spec"]["template"]["spec"]
    container = spec["containers"][0]
    for probe, path in (("readinessProbe", "/readiness"), ("livenessProbe", "/liveness")):
        assert container[probe]["httpGet"]["path"] == path
        assert container[probe]["httpGet"]["scheme"] == "HTTPS"
    assert container[probe]["periodSeconds"] == 10
    assert container["readinessProbe"]["periodSeconds"] == 3


def test_only_the_first_zone_may_create_a_shard() -> None:
    for (kind, name), item in objects().items():
        if kind == "StatefulSet":
            env = item["spec"]["template"]["spec"]["containers"][0]["env"]
            values = {e["name"]: e.get("value") for e in env}
            assert values["BOOTSTRAPS"] == ("true" if name.endswith("zone-a") else "false")
            assert values["PRIORITY"] == {"a": "3", "b": "2", "c": "1"}[name[-1]]
            assert values["HOST"] == f"{name}.demo.svc"


def test_pods_are_untouched_by_what_patroni_applies_live() -> None:
    before, after = objects(), objects({"database": {"maxConnections": 200}})
    assert before["ConfigMap", "demo-db-settings"] != after["ConfigMap", "demo-db-settings"]
    for key in before:
        if key[0] == "StatefulSet":
            assert before[key] == after[key]


def test_template_hash_follows_the_pod_and_nothing_else() -> None:
    name = ("StatefulSet", "demo-db-0-zone-a")
    first = template_hash(objects()[name])
    assert first == template_hash(objects()[name])
    assert first == template_hash(objects({"services": {"score": {"replicasPerZone": 2}}})[name])
    assert first != template_hash(objects({"database": {"resources": {"memory": "512Mi"}}})[name])


def test_primary_and_replica_services_follow_the_role_label() -> None:
    found = objects()
    for suffix, role in (("primary", "primary"), ("replicas", "replica")):
        spec = found["Service", f"demo-db-2-{suffix}"]["spec"]
        assert spec["selector"] == {
            "app.kubernetes.io/instance": "demo",
            "app.kubernetes.io/component": "database",
            "scoreboard.dev/shard": "2",
            "scoreboard.dev/role": role,
        }
        assert [p["port"] for p in spec["ports"]] == [5432]
        assert "publishNotReadyAddresses" not in spec


def test_patroni_may_touch_only_its_own_objects() -> None:
    rules = objects()["Role", "demo-db"]["rules"]
    for rule in rules:
        broad = "resourceNames" not in rule
        assert set(rule["resources"]) <= {"configmaps", "pods"}
        if broad:
            assert not {"patch", "update", "delete", "get"} & set(rule["verbs"])
    named = {name for rule in rules for name in rule.get("resourceNames", [])}
    assert {"demo-db-3-leader", "demo-db-0-config", "demo-db-0-zone-c-0"} <= named
    assert "demo-shard-map" not in named


def test_patroni_labels_select_the_pods_and_make_its_maps_visible() -> None:
    b = board()
    labels = names.patroni_labels(b)
    member = names.members(b, 1)[2]
    assert labels.items() <= names.pod_labels(b, member).items()
    assert labels["app.kubernetes.io/managed-by"] == "scoreboard-operator"
    assert labels["scoreboard.dev/scoreboard"] == "demo"
    assert "app.kubernetes.io/version" not in labels


def test_claims_keep_labels_that_never_change() -> None:
    claim = objects()["StatefulSet", "demo-db-0-zone-a"]["spec"]["volumeClaimTemplates"][0]
    assert claim["metadata"]["labels"]["scoreboard.dev/scoreboard"] == "demo"
    assert "app.kubernetes.io/version" not in claim["metadata"]["labels"]
    assert names.volume_claims(board())[0] == "data-demo-db-0-zone-a-0"


def test_shard_map() -> None:
    text = objects()["ConfigMap", "demo-shard-map"]["data"]["shard-map.json"]
    document = json.loads(text)
    assert document["version"] == 1
    assert document["buckets"] == len(document["assignment"]) == 960
    assert document["assignment"][:6] == [0, 1, 2, 3, 0, 1]
    assert document["shards"][3]["primary"] == "demo-db-3-primary.demo.svc:5432"
    assert document["shards"][0]["members"][1] == {
        "zone": "zone-b",
        "host": "demo-db-0-zone-b.demo.svc",
        "port": 5432,
    }


def test_jobs_come_once_a_shard_is_led_and_stay() -> None:
    b = board()
    assert not [o for o in desired(b, Snapshot()) if o["kind"] == "Job"]
    leader = {
        "kind": "ConfigMap",
        "metadata": {"name": "demo-db-1-leader", "annotations": {"leader": "demo-db-1-zone-a-0"}},
    }
    jobs = [o for o in desired(b, snapshot(leader)) if o["kind"] == "Job"]
    assert [job["metadata"]["name"] for job in jobs] == [migrations.job_name(b, 1)]
    orphan = {"kind": "Job", "metadata": {"name": migrations.job_name(b, 0)}}
    kept = [o["metadata"]["name"] for o in desired(b, snapshot(orphan)) if o["kind"] == "Job"]
    assert kept == [migrations.job_name(b, 0)]


def test_job_name_follows_the_image_only() -> None:
    b = board()
    assert migrations.job_name(b, 0) == migrations.job_name(
        board({"database": {"maxConnections": 300}}), 0
    )
    newer = replace(b, images=replace(b.images, scoreboard="scoreboard/scoreboard:2"))
    assert migrations.job_name(b, 0) != migrations.job_name(newer, 0)
    assert len(migrations.job_name(b, 15)) < 63


def test_job_pods_are_not_counted_as_members() -> None:
    running = Running(board())
    job = next(o for o in desired(running.board, running.snapshot) if o["kind"] == "Job")
    labels = job["spec"]["template"]["metadata"]["labels"]
    budget = objects()["PodDisruptionBudget", "demo-db-0"]
    assert not budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    terms = job["spec"]["template"]["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]["nodeSelectorTerms"]
    assert terms[0]["matchExpressions"][0]["values"] == ["zone-a", "zone-b", "zone-c"]


def test_one_zone_has_no_synchronous_standby() -> None:
    config = patroni.dynamic(board(zones=("zone-a",)))
    assert "synchronous_mode" not in config
    assert patroni.dynamic(board())["synchronous_mode_strict"] is True


@pytest.mark.parametrize(
    ("memory", "buffers"), [("384Mi", "48MB"), ("1Gi", "128MB"), ("128Mi", "16MB")]
)
def test_memory_settings_follow_the_limit(memory: str, buffers: str) -> None:
    chosen = patroni.parameters(board({"database": {"resources": {"memory": memory}}}))
    assert chosen["shared_buffers"] == buffers


def test_patience_fits_into_the_life_of_the_leader_record() -> None:
    config = patroni.dynamic(board())
    assert config["loop_wait"] + 2 * config["retry_timeout"] <= config["ttl"]


def test_quantities() -> None:
    assert patroni.mebibytes("2Gi") == 2048
    assert patroni.mebibytes("1G") == 953
    with pytest.raises(ValueError, match="not a quantity"):
        patroni.mebibytes("lots")


def test_nobody_connects_without_tls_and_the_superuser_not_at_all() -> None:
    rules = patroni.access_rules()
    assert rules[-1] == "host all all all reject"
    for rule in rules:
        kind, _, users = rule.split()[:3]
        if "postgres" in users.split(","):
            assert kind == "local"
        assert kind in ("local", "hostssl") or rule.endswith("reject")
