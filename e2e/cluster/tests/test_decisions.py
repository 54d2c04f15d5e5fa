"""What the cluster's commands decide from what they see."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster import config, demo, diagnosis, engine, gobuild, host, install, kind
from e2e.cluster.check import junit
from e2e.cluster.progress import elapsed
from e2e.cluster.shell import ClusterError


@pytest.mark.parametrize(
    ("mask", "expected"), [("000001fffeffffff", True), ("000001ffffffffff", False)]
)
def test_missing_capability_is_read_from_the_bounding_set(mask: str, expected: bool) -> None:
    assert engine.is_restricted(f"Name:\tx\nCapBnd:\t{mask}\n") is expected


@pytest.mark.parametrize("pid", ["", "999999999", str(os.getpid())])
def test_pid_file_of_anything_but_a_dockerd_is_removed(tmp_path: Path, pid: str) -> None:
    path = tmp_path / "docker.pid"
    path.write_text(pid)
    engine.clear_stale_pid(path, "dockerd")
    assert not path.exists()


def test_engine_keeps_the_machines_own_settings(tmp_path: Path) -> None:
    own = tmp_path / "daemon.json"
    own.write_text('{"bip": "10.9.0.1/24", "registry-mirrors": ["x"]}')
    settings = engine.configuration(own, Path("/cache/runtime"))
    assert settings["bip"] == "10.9.0.1/24"
    assert settings["registry-mirrors"] == ["x"]
    assert settings["default-runtime"] == "scoreboard"
    assert "default-runtime" not in engine.configuration(tmp_path / "none", None)


@pytest.mark.parametrize(
    ("lists", "mirror", "security"),
    [
        ("URIs: http://m/debian\nURIs: http://m/debian-security\n", "http://m/debian", "http://m/debian-security"),
        ("deb [arch=amd64] http://m/debian/ bookworm main\n", "http://m/debian/", "http://m/debian-security"),
    ],
)  # fmt: skip
def test_mirrors_are_those_of_the_host(lists: str, mirror: str, security: str) -> None:
    assert host.debian_mirrors(lists) == (mirror, security)


@pytest.mark.parametrize("lists", ["", "deb https://deb.example.org/node nodistro main\n"])
def test_a_host_without_a_debian_mirror_is_told_so(lists: str) -> None:
    with pytest.raises(ClusterError, match="no Debian mirror"):
        host.debian_mirrors(lists)


def test_wrapper_module_repeats_replacements_but_no_local_ones() -> None:
    go_mod = (
        "module a\n\ngo 1.25.0\n\nrequire b v1.0.0\n\nreplace (\n\tb => c v1.2.3\n\td => ./d\n)\n"
        "replace e v1.0.0 => f v0.1.0\n"
    )
    text = gobuild.wrapper(gobuild.Program("x", "a", "v1.1.1"), go_mod)
    assert "replace b => c v1.2.3" in text
    assert "replace e v1.0.0 => f v0.1.0" in text
    assert "./d" not in text
    assert "require a v1.1.1" in text


@pytest.mark.parametrize(
    ("version", "expected"),
    [("go1.26.1", True), ("go1.27rc1", True), ("go1.19.8", False), ("go2.0", True), ("", False)],
)
def test_go_of_the_machine_is_used_when_new_enough(version: str, expected: bool) -> None:
    assert gobuild.new_enough(version) is expected


def test_three_zones_and_a_gateway_port_on_loopback_only() -> None:
    text = config.cluster("image", own_image=True, restricted=True, cgroup_v1=True)
    cluster = yaml.safe_load(text)
    labels = [node.get("labels", {}) for node in cluster["nodes"]]
    zones = [label.get("topology.kubernetes.io/zone") for label in labels]
    assert zones == [None, "zone-a", "zone-b", "zone-c"]
    mappings = cluster["nodes"][0]["extraPortMappings"]
    assert {m["listenAddress"] for m in mappings} == {"127.0.0.1"}
    assert {"hostPort": 8443, "containerPort": 30443, "listenAddress": "127.0.0.1"} in mappings
    assert cluster["featureGates"] == {"KubeletInUserNamespace": True}


def test_pulled_image_keeps_its_own_network_and_gates() -> None:
    text = config.cluster("image", own_image=False, restricted=False, cgroup_v1=False)
    assert not yaml.safe_load(text)["networking"]["disableDefaultCNI"]
    assert "featureGates" not in text
    assert "failCgroupV1" not in text


def test_pod_network_is_the_nodes_own_range() -> None:
    plugins = json.loads(config.pod_network("198.19.1.0/24"))["plugins"]
    assert plugins[0]["ipam"]["ranges"] == [[{"subnet": "198.19.1.0/24"}]]


def test_unready_nodes_tell_why() -> None:
    nodes = [
        {
            "metadata": {"name": name},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }
        for name in config.NODES[:3]
    ]
    why = {"type": "Ready", "status": "False", "message": "no network"}
    broken = {"metadata": {"name": "last"}, "status": {"conditions": [why]}}
    assert kind.unready_nodes({"items": [*nodes, broken]}) == ["last: no network"]
    assert kind.unready_nodes({"items": nodes}) == ["3 of 4 nodes are there"]


def scoreboard(generation: int, seen: int, *conditions: dict[str, str]) -> dict[str, Any]:
    return {
        "metadata": {"generation": generation},
        "status": {"observedGeneration": seen, "conditions": list(conditions)},
    }


def test_ready_counts_only_for_the_present_generation() -> None:
    ready = {"type": "Ready", "status": "True"}
    assert demo.unready(scoreboard(2, 2, ready)) == []
    assert demo.unready(scoreboard(2, 1, ready)) == ["the operator has not seen this version yet"]
    assert demo.unready(scoreboard(1, 0)) == ["the operator has not seen it yet"]


def test_waiting_names_the_components_that_are_waited_for() -> None:
    conditions = (
        {"type": "Ready", "status": "False", "reason": "Waiting", "message": "…"},
        {"type": "KafkaReady", "status": "False", "reason": "Starting", "message": "1 of 3"},
        {"type": "CacheReady", "status": "True"},
        {"type": "Reconciling", "status": "True"},
    )
    assert demo.unready(scoreboard(1, 1, *conditions)) == ["KafkaReady: Starting 1 of 3"]


def test_rollout_is_complete_only_with_new_replicas_alone() -> None:
    deployment: dict[str, dict[str, object]] = {
        "metadata": {"generation": 2},
        "spec": {"replicas": 2},
        "status": {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3},
    }
    assert install.rollout(deployment) == "old replicas are leaving"
    deployment["status"] |= {"replicas": 2, "availableReplicas": 2}
    assert install.rollout(deployment) == ""


def test_trouble_names_the_container_and_its_reason() -> None:
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}
    pod = {"status": {"phase": "Running", "containerStatuses": [{"name": "a", "state": waiting}]}}
    assert diagnosis.trouble(pod) == "a CrashLoopBackOff back-off"
    assert diagnosis.trouble({"status": {"phase": "Succeeded"}}) == ""


def test_junit_counts_and_reasons() -> None:
    report = (
        '<testsuites><testsuite><testcase classname="a" name="ok"/>'
        '<testcase classname="a" name="bad"><failure/></testcase>'
        '<testcase classname="a" name="off"><skipped message="no browser"/></testcase>'
        "</testsuite></testsuites>"
    )
    tally = junit(report)
    assert str(tally) == "1 passed, 1 failed, 1 skipped"
    assert tally.skipped == ["a::off: no browser"]


def test_time_reads_as_people_say_it() -> None:
    assert [elapsed(4.25), elapsed(65)] == ["4.2 s", "1 min 05 s"]
