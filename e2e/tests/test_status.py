"""Issue 3, sections 3 and 4: what a Scoreboard tells about itself, and the labels of its pods.

Conditions follow the kstatus rules, printer columns are filled, every pod carries the standard
labels, and the restricted Pod Security standard is enforced on the namespace. (That a one-zone
Scoreboard becomes Ready is shown by test_operator_killed and test_delete_keep_data.)
"""

from __future__ import annotations

import re

from e2e.support import cluster
from e2e.support.board import BoardHandle

COMPONENTS = {
    "CertificatesReady",
    "DatabaseReady",
    "KafkaReady",
    "CacheReady",
    "ScoreServiceReady",
    "UserServiceReady",
    "NotificationServiceReady",
    "GatewayReady",
}
STANDARD = {"name", "instance", "component", "part-of", "managed-by", "version"}
WITH_ZONE = {"database", "kafka", "cache", "score", "user", "notification", "gateway"}
WITH_SHARD = {"database", "migrations"}


def test_conditions_follow_kstatus(demo: BoardHandle) -> None:
    """Ready is there, Reconciling and Stalled only while true, all of the present generation."""
    resource = demo.resource()
    generation = resource["metadata"]["generation"]
    assert resource["status"]["observedGeneration"] == generation
    conditions = demo.conditions()
    assert conditions["Ready"]["status"] == "True"
    assert not {"Reconciling", "Stalled"} & conditions.keys()
    assert conditions.keys() >= COMPONENTS
    for kind, condition in conditions.items():
        assert condition["status"] == "True", f"{kind}: {condition}"
        assert condition["observedGeneration"] == generation, kind
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9]*", condition["reason"]), kind
        assert condition["message"], kind
        assert condition["lastTransitionTime"], kind


def test_tables_tell_what_runs(demo: BoardHandle) -> None:
    """Rows for every zone, shard, topic and cache node."""
    status = demo.resource()["status"]
    zones = {row["name"]: row for row in status["zones"]}
    assert sorted(zones) == ["zone-a", "zone-b", "zone-c"]
    for row in zones.values():
        for component in WITH_ZONE:
            ready, wanted = row[component].split("/")
            assert ready == wanted, row
            assert int(wanted) >= 1, row
    assert [row["index"] for row in status["shards"]] == [0, 1, 2, 3]
    for row in status["shards"]:
        assert row["primary"].startswith(f"demo-db-{row['index']}-")
        assert row["zone"] in zones
        assert row["timeline"] >= 1
        assert row["replicas"] == "2/2"
    topics = {row["name"]: row for row in status["topics"]}
    assert sorted(topics) == ["score_updates", "system_events", "user_actions"]
    for row in topics.values():
        assert (row["replicationFactor"], row["minInsyncReplicas"]) == (3, 2)
        assert row["retentionHours"] == 168
        assert row["underReplicated"] == 0
    roles = [row["role"] for row in status["cacheNodes"]]
    assert sorted(roles) == ["primary"] * 3 + ["replica"] * 3
    assert status["endpoints"]["gateway"]
    assert {"scoreboard", "postgres", "kafka", "redis", "envoy"} <= status["images"].keys()


def test_printer_columns(demo: BoardHandle) -> None:
    """`kubectl get scoreboard` and its short name show Ready, Score, Shards, Zones and Age."""
    shown = cluster.said(cluster.kubectl("get", "sb", demo.name, "-n", demo.namespace))
    header, row = shown.splitlines()[:2]
    cells = dict(zip(header.split(), row.split(), strict=False))
    assert cells.keys() >= {"NAME", "READY", "SCORE", "SHARDS", "ZONES", "AGE"}, shown
    assert (cells["READY"], cells["SCORE"]) == ("True", "3/3")
    assert (cells["SHARDS"], cells["ZONES"]) == ("4/4", "3/3")


def test_every_object_carries_the_standard_labels(demo: BoardHandle) -> None:
    """The labels app.kubernetes.io/* on every pod and every other object."""
    for kind in (*cluster.OWNED_KINDS, "PersistentVolumeClaim"):
        for item in demo.objects(kind):
            if kind in ("ConfigMap", "PersistentVolumeClaim"):
                continue  # Patroni makes some of these, with labels that may never change
            _check_labels(demo, item)
    own = cluster.need("ConfigMap", demo.namespace, f"{demo.name}-shard-map")
    _check_labels(demo, {"kind": "ConfigMap", **own})


def test_every_pod_is_of_the_scoreboard(demo: BoardHandle) -> None:
    """No pod in the namespace is without labels, apart from the tests' own."""
    strangers = {
        pod["metadata"]["name"]
        for pod in cluster.listing("Pod", demo.namespace)
        if cluster.labels_of(pod).get("scoreboard.dev/scoreboard") != demo.name
    }
    assert strangers <= {"e2e-tools"}
    for pod in demo.pods():
        labels = cluster.labels_of(pod)
        component = labels["app.kubernetes.io/component"]
        name = pod["metadata"]["name"]
        if component in WITH_ZONE:
            assert labels.get("scoreboard.dev/zone"), name
        if component in WITH_SHARD:
            assert labels.get("scoreboard.dev/shard", "").isdigit(), name


def test_restricted_pod_security_is_enforced(demo: BoardHandle) -> None:
    """The namespace enforces `restricted`: the API server refuses a pod that breaks it."""
    labels = cluster.labels_of(cluster.need("Namespace", None, demo.namespace))
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "root", "namespace": demo.namespace},
        "spec": {"containers": [{"name": "root", "image": "none"}]},
    }
    refused = cluster.apply(pod, dry_run=True)
    assert refused.returncode != 0
    assert 'violates PodSecurity "restricted' in refused.stderr


def _check_labels(board: BoardHandle, item: cluster.Object) -> None:
    labels = cluster.labels_of(item)
    title = f"{item['kind']} {item['metadata']['name']}"
    missing = {word for word in STANDARD if not labels.get(f"app.kubernetes.io/{word}")}
    assert not missing, f"{title} has no app.kubernetes.io/{missing}"
    assert labels["app.kubernetes.io/part-of"] == "scoreboard", title
    assert labels["app.kubernetes.io/managed-by"] == "scoreboard-operator", title
    assert labels["app.kubernetes.io/instance"] == board.name, title
