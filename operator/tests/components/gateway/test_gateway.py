"""Properties of the gateway's objects, and every generated configuration before the real Envoy."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.components.base import (
    ZONE_LABEL,
    Board,
    ImageSet,
    Snapshot,
    UserError,
)
from scoreboard_operator.components.gateway import COMPONENT
from scoreboard_operator.components.gateway.desired import (
    CONFIG_HASH,
    quantity_bytes,
    settings_of,
)
from scoreboard_operator.components.gateway.envoy_config import files
from scoreboard_operator.components.gateway.filters import _bucket

from .harness import Lab

# A busy machine must not fail a property for being slow.
CALM = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])

ZONES = ("zone-a", "zone-b", "zone-c")
IMAGES = ImageSet("scoreboard/scoreboard:1a2b", "p:1", "k:1", "r:1", "scoreboard/envoy:9f")


def board(spec: dict[str, Any] | None = None, zones: tuple[str, ...] = ZONES) -> Board:
    """A board named demo with the given gateway section over the defaults."""
    parsed = ScoreboardSpec.model_validate({"gateway": spec or {}})
    return Board("demo", "games", "uid", 1, parsed, zones, IMAGES)


def objects(made: Board, snapshot: Snapshot | None = None) -> dict[tuple[str, str], Any]:
    """The gateway's objects by kind and name."""
    found = list(COMPONENT.desired(made, snapshot or Snapshot()))
    keyed = {(each["kind"], each["metadata"]["name"]): each for each in found}
    assert len(keyed) == len(found), "two objects of one name"
    return keyed


def template(found: dict[tuple[str, str], Any], zone: str = "zone-a") -> Any:
    return found["Deployment", f"demo-gateway-{zone}"]["spec"]["template"]


def test_component_contract() -> None:
    assert (COMPONENT.name, COMPONENT.condition) == ("gateway", "GatewayReady")
    assert COMPONENT.after == ("CertificatesReady",)


def test_objects_by_name() -> None:
    shared = {(kind, "demo-gateway") for kind in ("ServiceAccount", "Service")}
    shared |= {("PodDisruptionBudget", "demo-gateway")}
    each_zone = {
        (kind, f"demo-gateway-{zone}") for zone in ZONES for kind in ("ConfigMap", "Deployment")
    }
    assert set(objects(board())) == shared | each_zone


def test_pods_run_restricted_and_in_their_zone() -> None:
    found = objects(board())
    for zone in ZONES:
        pod = template(found, zone)
        spec = pod["spec"]
        terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert terms["nodeSelectorTerms"][0]["matchExpressions"] == [
            {"key": ZONE_LABEL, "operator": "In", "values": [zone]}
        ]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        (container,) = spec["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert ports == {"https": 8443, "http": 8080, "metrics": 9100}
        variables = {each["name"]: each.get("value") for each in container["env"]}
        drained = int(variables["SETTLE_SECONDS"]) + int(variables["DRAIN_SECONDS"])
        assert spec["terminationGracePeriodSeconds"] > drained
        config = next(v for v in spec["volumes"] if v["name"] == "config")
        assert config["configMap"]["name"] == f"demo-gateway-{zone}"
        keys = next(v for v in spec["volumes"] if v["name"] == "tls")["secret"]
        assert keys["secretName"] == "demo-gateway-tls"
        assert [item["key"] for item in keys["items"]] == ["ca.crt"]


def test_own_zone_first_and_all_others_alike() -> None:
    found = objects(board())
    for zone in ZONES:
        config = json.loads(found["ConfigMap", f"demo-gateway-{zone}"]["data"]["envoy.json"])
        clusters = {each["name"]: each for each in config["static_resources"]["clusters"]}
        for service in ("score", "user", "notification"):
            places = {
                each["locality"]["zone"]: (
                    each["priority"],
                    each["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]["address"],
                )
                for each in clusters[service]["load_assignment"]["endpoints"]
            }
            assert places == {
                other: (int(other != zone), f"demo-{service}-{other}.games.svc") for other in ZONES
            }
            names = str(clusters[service]["transport_socket_matches"])
            assert f"demo-{service}.games.svc" in names


def test_configuration_is_stable_and_a_change_of_it_restarts() -> None:
    first, again = objects(board()), objects(board())
    assert first == again
    other = objects(board({"rateLimit": {"requestsPerSecond": 60, "burst": 100}}))
    for zone in ZONES:
        before = template(first, zone)["metadata"]["annotations"][CONFIG_HASH]
        after = template(other, zone)["metadata"]["annotations"][CONFIG_HASH]
        assert before != after
    hashes = {template(first, zone)["metadata"]["annotations"][CONFIG_HASH] for zone in ZONES}
    assert len(hashes) == 3


def test_what_is_not_the_gateways_restarts_nothing() -> None:
    parsed = ScoreboardSpec.model_validate(
        {
            "services": {"score": {"replicasPerZone": 4}},
            "rules": {"maxScore": 5},
            "database": {"shards": 2},
        }
    )
    changed = Board("demo", "games", "uid", 2, parsed, ZONES, IMAGES)
    assert objects(board()) == objects(changed)


def test_more_replicas_change_no_pod() -> None:
    one, four = objects(board()), objects(board({"replicasPerZone": 4}))
    changed = {key for key in one if one[key] != four[key]}
    assert changed == {("Deployment", f"demo-gateway-{zone}") for zone in ZONES}
    assert all(template(one, zone) == template(four, zone) for zone in ZONES)


def test_service_types() -> None:
    plain = objects(board())["Service", "demo-gateway"]["spec"]
    assert plain["type"] == "ClusterIP"
    assert {p["name"]: p["port"] for p in plain["ports"]} == {"https": 8443, "http": 8080}
    assert all("nodePort" not in port for port in plain["ports"])
    wanted = {"type": "NodePort", "httpsNodePort": 30443, "httpNodePort": 30080}
    pinned = objects(board({"service": wanted}))["Service", "demo-gateway"]["spec"]
    assert {p["name"]: p["nodePort"] for p in pinned["ports"]} == {"https": 30443, "http": 30080}
    assert "externalTrafficPolicy" not in pinned
    balanced = objects(board({"service": {"type": "LoadBalancer"}}))["Service", "demo-gateway"]
    assert balanced["spec"]["externalTrafficPolicy"] == "Local"


NAMED = {"tls": {"secretName": "shop-window"}}
GOOD = {"data": {"tls.crt": "eA==", "tls.key": "eA=="}}


def test_named_certificate_is_served() -> None:
    found = objects(board(NAMED), Snapshot(references={"shop-window": GOOD}))
    spec = template(found)["spec"]
    sources = {v["name"]: v.get("secret", {}).get("secretName") for v in spec["volumes"]}
    assert sources["public-tls"] == "shop-window"
    assert sources["tls"] == "demo-gateway-tls"
    own = template(objects(board()))["spec"]["volumes"]
    assert next(v for v in own if v["name"] == "public-tls")["secret"]["secretName"] == (
        "demo-gateway-tls"
    )


@pytest.mark.parametrize(
    ("secret", "reason", "words"),
    [
        (None, "SecretNotFound", "does not exist in namespace 'games'"),
        ({"data": {"tls.crt": "eA=="}}, "SecretInvalid", "no tls.key"),
        ({}, "SecretInvalid", "no tls.crt and no tls.key"),
    ],
)
def test_unusable_certificate_stalls_and_changes_nothing(
    secret: Any, reason: str, words: str
) -> None:
    made = board(NAMED)
    snapshot = Snapshot(references={"shop-window": secret})
    with pytest.raises(UserError) as raised:
        objects(made, snapshot)
    assert raised.value.reason == reason
    status = COMPONENT.status(made, snapshot, None)
    assert (status.ready, status.stalled, status.reason) == (False, True, reason)
    assert "spec.gateway.tls.secretName" in status.message
    assert "'shop-window'" in status.message
    assert words in status.message
    assert status.message == raised.value.message
    assert not COMPONENT.status(made, Snapshot(references={"shop-window": GOOD}), None).stalled


def test_status_tells_where_the_gateway_is() -> None:
    made = board()
    waiting = COMPONENT.status(made, Snapshot(), None)
    assert (waiting.ready, waiting.reason) == (False, "WaitingForPods")
    assert waiting.tables == {"endpoints": {"gateway": "https://demo-gateway.games.svc:8443"}}
    live: dict[tuple[str, str], Any] = {}
    for key, each in objects(made).items():
        if key[0] == "Deployment":
            done = {"observedGeneration": 1, "updatedReplicas": 1, "replicas": 1}
            each["metadata"]["generation"] = 1
            live[key] = each | {"status": done | {"readyReplicas": 1}}
    live["Service", "demo-gateway"] = {
        "spec": {"ports": [{"name": "http", "nodePort": 1}, {"name": "https", "nodePort": 30443}]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}},
    }
    ready = COMPONENT.status(made, Snapshot(live), None)
    assert (ready.ready, ready.reason) == (True, "Ready")
    assert ready.tables["endpoints"] == {
        "gateway": "https://demo-gateway.games.svc:8443",
        "nodePort": "30443",
        "loadBalancer": "https://192.0.2.7:8443",
    }


@pytest.mark.parametrize(
    ("text", "size"),
    [("192Mi", 192 * 2**20), ("1Gi", 2**30), ("1.5G", 1_500_000_000), ("4096", 4096), ("8k", 8000)],
)
def test_quantity_bytes(text: str, size: int) -> None:
    assert quantity_bytes(text) == size


@CALM
@given(per_second=st.integers(1, 100_000), burst=st.integers(1, 100_000))
def test_bucket_refills_at_exactly_the_rate(per_second: int, burst: int) -> None:
    made = board({"rateLimit": {"requestsPerSecond": per_second, "burst": burst}})
    bucket = _bucket(settings_of(made, "zone-a"))
    interval = float(bucket["fill_interval"].removesuffix("s"))
    assert bucket["max_tokens"] == burst
    assert interval >= 0.05
    assert bucket["tokens_per_fill"] / interval == pytest.approx(per_second, rel=1e-6)


SPECS: tuple[dict[str, Any], ...] = (
    {},
    {"rateLimit": {"requestsPerSecond": 1, "burst": 1}},
    {"rateLimit": {"requestsPerSecond": 99_991, "burst": 100_000}, "maxBodyBytes": 1_048_576},
    {"maxBodyBytes": 1024, "resources": {"memory": "1Gi"}},
    {"service": {"type": "NodePort", "httpsNodePort": 30443, "httpNodePort": 30080}},
    {"service": {"type": "LoadBalancer"}},
)


@pytest.mark.parametrize("spec", SPECS)
def test_envoy_accepts_every_configuration(
    lab: Lab, envoy_binary: str, tmp_path: Path, spec: dict[str, Any]
) -> None:
    """``envoy --mode validate``, without a single warning about a deprecated field."""
    for zones, zone in ((ZONES, "zone-b"), (("only",), "only")):
        folder = tmp_path / zone
        folder.mkdir()
        for name, text in files(settings_of(board(spec, zones), zone)).items():
            local = text  # only paths differ from a pod's
            for there, here in (
                ("/etc/scoreboard/gateway", folder),
                ("/etc/scoreboard/public-tls", lab.gateway_files),
                ("/etc/scoreboard/tls", lab.gateway_files),
            ):
                local = local.replace(there, str(here))
            (folder / name).write_text(local)
        done = subprocess.run(
            [envoy_binary, "--mode", "validate", "-c", str(folder / "envoy.json")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output[-3000:]
        assert done.stdout.rstrip().endswith("OK")
        assert "eprecated" not in output


def test_no_secret_in_the_configuration() -> None:
    secret = {"data": {"tls.key": base64.b64encode(b"very-secret").decode(), "tls.crt": "eA=="}}
    found = objects(board(NAMED), Snapshot(references={"shop-window": secret}))
    assert "very-secret" not in str(found)
