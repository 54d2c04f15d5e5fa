"""Properties of the services' objects: where pods run, what restarts them, what they may read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import ZONE_LABEL, Board, ImageSet, Snapshot
from scoreboard_operator.components.services import COMPONENTS

# A busy machine must not fail a property for being slow.
CALM = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

ZONES = ("zone-a", "zone-b", "zone-c")
NAMES = ("score", "user", "notification")
IMAGES = ImageSet("scoreboard/scoreboard:1a2b", "p:1", "k:1", "r:1", "scoreboard/envoy:9f")


def board(spec: dict[str, Any] | None = None, zones: tuple[str, ...] = ZONES) -> Board:
    """A board named demo with the given spec over the defaults."""
    parsed = ScoreboardSpec.model_validate(spec or {})
    return Board("demo", "games", "uid", 1, parsed, zones, IMAGES)


def objects(name: str, made: Board) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects of one service by kind and name."""
    component = next(each for each in COMPONENTS if each.name == name)
    found = list(component.desired(made, Snapshot()))
    keyed = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(keyed) == len(found), "two objects of one name"
    return keyed


def everything(made: Board) -> dict[tuple[str, str], dict[str, Any]]:
    return {key: value for name in NAMES for key, value in objects(name, made).items()}


def template(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]
    return found


def test_component_contract() -> None:
    assert [each.name for each in COMPONENTS] == list(NAMES)
    assert [each.condition for each in COMPONENTS] == [
        "ScoreServiceReady",
        "UserServiceReady",
        "NotificationServiceReady",
    ]
    after = {"CertificatesReady", "DatabaseReady", "KafkaReady", "CacheReady"}
    assert all(set(each.after) == after for each in COMPONENTS)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("zones", [ZONES, ("only",)])
def test_objects_by_name(name: str, zones: tuple[str, ...]) -> None:
    shared = {("ServiceAccount", f"demo-{name}"), ("Service", f"demo-{name}")}
    shared |= {("PodDisruptionBudget", f"demo-{name}")}
    if name == "score":
        shared |= {("ConfigMap", "demo-rules")}
    each_zone = {(kind, f"demo-{name}-{z}") for z in zones for kind in ("Service", "Deployment")}
    assert set(objects(name, board(zones=zones))) == shared | each_zone


@pytest.mark.parametrize("name", NAMES)
def test_pods_run_restricted_and_in_their_zone(name: str) -> None:
    found = objects(name, board())
    for zone in ZONES:
        pod = template(found["Deployment", f"demo-{name}-{zone}"])
        spec = pod["spec"]
        terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = terms["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]
        assert pod["metadata"]["labels"]["scoreboard.dev/zone"] == zone
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["serviceAccountName"] == f"demo-{name}"
        assert spec["terminationGracePeriodSeconds"] >= 4 + 20
        (container,) = spec["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["image"] == IMAGES.scoreboard
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"https": 8443, "metrics": 9100}
        probe = container["readinessProbe"]["httpGet"]
        assert (probe["path"], probe["port"], probe["scheme"]) == ("/readyz", "metrics", "HTTP")
        for kind in ("livenessProbe", "startupProbe"):
            assert container[kind]["httpGet"]["path"] == "/livez"


def test_each_service_reads_only_what_it_needs() -> None:
    mounts = {
        "score": {
            "tls": "demo-score-tls",
            "credentials": "demo-score-credentials",
            "jwt": "demo-jwt-public",
            "request-signing": "demo-request-signing",
            "shard-map": "demo-shard-map",
            "rules": "demo-rules",
        },
        "user": {
            "tls": "demo-user-tls",
            "credentials": "demo-user-credentials",
            "jwt": "demo-jwt-signing",
            "request-signing": "demo-request-signing",
            "shard-map": "demo-shard-map",
        },
        "notification": {
            "tls": "demo-notification-tls",
            "credentials": "demo-notification-credentials",
            "jwt": "demo-jwt-public",
            "shard-map": "demo-shard-map",
        },
    }
    for name, wanted in mounts.items():
        spec = template(objects(name, board())["Deployment", f"demo-{name}-zone-b"])["spec"]
        sources = {
            volume["name"]: volume.get("secret", {}).get("secretName")
            or volume.get("configMap", {}).get("name")
            for volume in spec["volumes"]
            if "emptyDir" not in volume
        }
        assert sources == wanted
        paths = {m["name"]: m["mountPath"] for m in spec["containers"][0]["volumeMounts"]}
        assert paths == {volume: f"/etc/scoreboard/{volume}" for volume in wanted} | {
            "tmp": "/tmp"  # noqa: S108
        }


def test_environment() -> None:
    spec = template(objects("user", board())["Deployment", "demo-user-zone-c"])["spec"]
    container = spec["containers"][0]
    assert container["command"] == ["python", "-m", "scoreboard.users"]
    values = {each["name"]: each.get("value") for each in container["env"]}
    assert values == {
        "SCOREBOARD_NAME": "demo",
        "SCOREBOARD_NAMESPACE": "games",
        "SCOREBOARD_ZONE": "zone-c",
        "SCOREBOARD_VERSION": "1a2b",
        "KAFKA_BOOTSTRAP": "demo-kafka.games.svc:9092",
        "CACHE_NODES": ",".join(
            f"demo-cache-{zone}-{ordinal}.demo-cache.games.svc:6379"
            for zone in ZONES
            for ordinal in (0, 1)
        ),
        "CONFIG_DIR": "/etc/scoreboard",
        "LOG_LEVEL": "info",
        "POD_NAME": None,
    }
    alone = template(objects("user", board(zones=("only",)))["Deployment", "demo-user-only"])[
        "spec"
    ]["containers"][0]["env"]
    nodes = next(each["value"] for each in alone if each["name"] == "CACHE_NODES")
    assert nodes == "demo-cache-only-0.demo-cache.games.svc:6379"


def test_services_lead_to_their_pods() -> None:
    for name in NAMES:
        found = objects(name, board())
        for zone in ZONES:
            pod_labels = template(found["Deployment", f"demo-{name}-{zone}"])["metadata"]["labels"]
            for service in (f"demo-{name}", f"demo-{name}-{zone}"):
                spec = found["Service", service]["spec"]
                assert spec["selector"].items() <= pod_labels.items()
                assert [port["port"] for port in spec["ports"]] == [8443]
            assert found["Service", f"demo-{name}-{zone}"]["spec"]["clusterIP"] == "None"
            other = next(each for each in ZONES if each != zone)
            elsewhere = found["Service", f"demo-{name}-{other}"]["spec"]["selector"]
            assert not elsewhere.items() <= pod_labels.items()
        budget = found["PodDisruptionBudget", f"demo-{name}"]["spec"]
        assert budget["maxUnavailable"] == 1


def test_rules_are_what_the_score_service_reads() -> None:
    text = objects("score", board())["ConfigMap", "demo-rules"]["data"]["rules.json"]
    assert json.loads(text) == {
        "maxScore": 1000000000,
        "operator": "sum",
        "updatesPerMinute": 10,
        "minIntervalMs": 0,
        "actions": {"default": {"minChange": -1000, "maxChange": 1000}},
    }


@CALM
@given(
    maximum=st.integers(1, 2_000_000_000),
    operator=st.sampled_from(["sum", "best", "last"]),
    minute=st.integers(1, 600),
)
def test_rules_change_touches_nothing_but_their_file(
    maximum: int, operator: str, minute: int
) -> None:
    rules = {"maxScore": maximum, "operator": operator, "updatesPerMinute": minute}
    before, after = everything(board()), everything(board({"rules": rules}))
    changed = {key for key in before if before[key] != after[key]}
    assert changed <= {("ConfigMap", "demo-rules")}
    assert set(before) == set(after)


@CALM
@given(replicas=st.integers(2, 50))
def test_more_score_replicas_touch_score_deployments_only(replicas: int) -> None:
    before = everything(board())
    after = everything(board({"services": {"score": {"replicasPerZone": replicas}}}))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("Deployment", f"demo-score-{zone}") for zone in ZONES}
    for key in changed:
        assert template(before[key]) == template(after[key])
        assert after[key]["spec"]["replicas"] == replicas


def test_other_sections_restart_no_service() -> None:
    spec = {
        "gateway": {"rateLimit": {"burst": 7}},
        "kafka": {"topics": {"score_updates": {"partitions": 12}}},
        "services": {"user": {"logLevel": "debug"}},
    }
    before, after = everything(board()), everything(board(spec))
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {("Deployment", f"demo-user-{zone}") for zone in ZONES}


def _live(deployment: dict[str, Any], ready: int) -> dict[str, Any]:
    replicas = deployment["spec"]["replicas"]
    status = {"observedGeneration": 1, "updatedReplicas": replicas, "replicas": replicas}
    meta = deployment["metadata"] | {"generation": 1}
    return deployment | {"metadata": meta, "status": status | {"readyReplicas": ready}}


def test_status_follows_the_pods() -> None:
    made = board()
    component = COMPONENTS[0]
    absent = component.status(made, Snapshot(), None)
    assert (absent.ready, absent.reason, absent.stalled) == (False, "WaitingForPods", False)
    assert "demo-score-zone-a (no pod yet)" in absent.message
    deployments = {k: v for k, v in objects("score", made).items() if k[0] == "Deployment"}
    ready = {key: _live(value, 1) for key, value in deployments.items()}
    full = component.status(made, Snapshot(ready), None)
    assert (full.ready, full.reason) == (True, "Ready")
    assert full.message == "3 of 3 pods ready in zone-a, zone-b, zone-c"
    broken = ready | {
        ("Deployment", "demo-score-zone-b"): _live(
            deployments["Deployment", "demo-score-zone-b"], 0
        )
    }
    partly = component.status(made, Snapshot(broken), None)
    assert not partly.ready
    assert "demo-score-zone-b" in partly.message
    assert "zone-a" not in partly.message
