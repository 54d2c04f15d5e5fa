"""The objects: zones, security, probes, names, stability, and what users get wrong."""

from __future__ import annotations

import json

import pytest

from scoreboard_operator.components.base import ZONE_LABEL, Object, Snapshot, UserError
from scoreboard_operator.components.cache import COMPONENT
from scoreboard_operator.components.cache.desired import TEMPLATE_HASH
from scoreboard_operator.components.cache.layout import slot_ranges, slots_text, wanted_layout
from scoreboard_operator.components.cache.node_config import (
    acl_rules,
    live_settings,
    memory_request,
    quantity_bytes,
    redis_conf,
)

from .lab import make_board


def objects(**spec: object) -> dict[tuple[str, str], Object]:
    made = COMPONENT.desired(make_board(**spec), Snapshot())
    return {(o["kind"], o["metadata"]["name"]): o for o in made}


def workloads(**spec: object) -> list[Object]:
    return [o for (kind, _), o in objects(**spec).items() if kind == "StatefulSet"]


def test_names_and_kinds() -> None:
    assert sorted(objects()) == [
        ("ConfigMap", "demo-cache-config"),
        ("PodDisruptionBudget", "demo-cache"),
        ("Service", "demo-cache"),
        *(("StatefulSet", f"demo-cache-zone-{zone}") for zone in "abc"),
    ]


def test_every_pod_is_restricted_and_in_its_zone() -> None:
    for workload in workloads():
        spec = workload["spec"]["template"]["spec"]
        zone = workload["metadata"]["labels"]["scoreboard.dev/zone"]
        (term,) = spec["affinity"]["nodeAffinity"][
            "requiredDuringSchedulingIgnoredDuringExecution"
        ]["nodeSelectorTerms"]
        assert term["matchExpressions"] == [{"key": ZONE_LABEL, "operator": "In", "values": [zone]}]
        assert workload["spec"]["replicas"] == 2
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPath" in volume for volume in spec["volumes"])


def test_readiness_never_asks_for_a_whole_cluster() -> None:
    container = workloads()[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["readinessProbe"]["tcpSocket"] == {"port": 16379}
    assert objects()["Service", "demo-cache"]["spec"]["publishNotReadyAddresses"] is True
    assert objects()["Service", "demo-cache"]["spec"]["clusterIP"] == "None"


def test_memory_request_is_an_eighth_of_the_limit() -> None:
    resources = workloads()[0]["spec"]["template"]["spec"]["containers"][0]["resources"]
    assert resources == {
        "requests": {"cpu": "25m", "memory": "160Mi"},
        "limits": {"memory": "1280Mi"},
    }
    assert memory_request("64Mi") == "16Mi"


def test_max_memory_changes_live_and_restarts_nothing() -> None:
    before, after = workloads(), workloads(cache={"maxMemory": "512Mi"})
    assert before == after
    assert live_settings(make_board(cache={"maxMemory": "512Mi"}))["maxmemory"] == "536870912"
    config = objects(cache={"maxMemory": "512Mi"})["ConfigMap", "demo-cache-config"]
    assert "maxmemory 536870912\n" in config["data"]["live.conf"]


def test_the_template_hash_is_stable_and_follows_the_template() -> None:
    def hashes(**spec: object) -> set[str]:
        return {w["metadata"]["annotations"][TEMPLATE_HASH] for w in workloads(**spec)}

    assert hashes() == hashes()
    assert hashes().isdisjoint(hashes(cache={"resources": {"cpu": "1", "memory": "2Gi"}}))


def test_a_one_zone_board_has_one_node() -> None:
    board = make_board(("zone-a",))
    made = [o for o in COMPONENT.desired(board, Snapshot()) if o["kind"] == "StatefulSet"]
    assert [w["spec"]["replicas"] for w in made] == [1]
    assert wanted_layout(board).ranges == ((0, 16383),)


def test_the_layout_pins_replicas_to_the_next_zone() -> None:
    layout = wanted_layout(make_board())
    pairs = [[place.pod for place in layout.of_part(part)] for part in range(3)]
    assert pairs == [
        ["demo-cache-zone-a-0", "demo-cache-zone-b-1"],
        ["demo-cache-zone-b-0", "demo-cache-zone-c-1"],
        ["demo-cache-zone-c-0", "demo-cache-zone-a-1"],
    ]
    assert slot_ranges(3) == ((0, 5460), (5461, 10922), (10923, 16383))
    assert slots_text({1, 2, 3, 7}) == "1-3,7"


def test_no_secret_value_and_no_pod_name_is_in_an_object() -> None:
    data = objects()["ConfigMap", "demo-cache-config"]["data"]
    assert set(data) == {"redis.conf", "live.conf", "users.acl"}
    assert "masterauth" not in json.dumps(data)
    assert acl_rules().count("#{") == 5
    assert acl_rules().startswith("user default reset off\n")
    for line in ("port 0", "tls-port 6379", "cluster-allow-replica-migration no", "appendonly no"):
        assert f"\n{line}\n" in f"\n{redis_conf()}"


def test_services_may_touch_their_own_keys_only() -> None:
    for name in ("score", "user", "notification"):
        (line,) = [li for li in acl_rules().splitlines() if li.startswith(f"user {name} ")]
        words = line.split()
        assert "~sb:*" in words
        assert "&sb:*" in words
        assert not {"~*", "&*", "+@all", "allkeys", "nopass"} & set(words)
        assert words.index("-@dangerous") > words.index("+@write")


@pytest.mark.parametrize(
    ("text", "number"),
    [("1Gi", 2**30), ("512Mi", 2**29), ("1G", 10**9), ("1.5Ki", 1536), ("7", 7), ("2000m", 2)],
)
def test_quantities(text: str, number: int) -> None:
    assert quantity_bytes(text) == number


@pytest.mark.parametrize(
    "cache",
    [
        {"maxMemory": "2Gi"},
        {"maxMemory": "1250Mi"},
        {"maxMemory": "1Ki"},
    ],
)
def test_memory_that_cannot_work_is_the_users_to_mend(cache: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"spec\.cache\.maxMemory"):
        list(COMPONENT.desired(make_board(cache=cache), Snapshot()))
