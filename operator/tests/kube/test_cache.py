"""The watch cache: what wakes a pass, what does not, and deleted Secrets."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from scoreboard_operator.kube.cache import ObjectCache

KEY = ("demo", "demo")


def _object(kind: str, name: str = "x", version: int = 1, **rest: Any) -> dict[str, Any]:
    meta = {
        "name": name,
        "namespace": "demo",
        "uid": f"uid-{name}",
        "resourceVersion": str(version),
        "labels": {"scoreboard.dev/scoreboard": "demo"},
        **rest.pop("meta", {}),
    }
    return {"kind": kind, "metadata": meta, **rest}


def _cache() -> tuple[ObjectCache, list[Any]]:
    rings: list[Any] = []
    return ObjectCache(None, rings.append), rings  # type: ignore[arg-type]


def test_new_and_changed_objects_ring_their_board() -> None:
    cache, rings = _cache()
    cache._store("Service", _object("Service", spec={"ports": []}), wake=True)
    cache._store("Service", _object("Service", version=2, spec={"ports": [1]}), wake=True)
    assert rings == [KEY, KEY]
    cache._store("Service", _object("Service", version=3, spec={"ports": [1]}), wake=True)
    assert len(rings) == 2


def test_patroni_heartbeats_do_not_ring() -> None:
    cache, rings = _cache()
    leader = {"leader": "demo-db-0-zone-a-0", "renewTime": "1"}
    cache._store("ConfigMap", _object("ConfigMap", meta={"annotations": leader}), wake=True)
    beat = {**leader, "renewTime": "2", "optime": "77"}
    cache._store("ConfigMap", _object("ConfigMap", meta={"annotations": beat}), wake=True)
    assert rings == [KEY]
    moved = {**beat, "leader": "demo-db-0-zone-b-0"}
    cache._store("ConfigMap", _object("ConfigMap", meta={"annotations": moved}), wake=True)
    assert rings == [KEY, KEY]


def test_pod_annotations_do_not_ring_but_readiness_does() -> None:
    cache, rings = _cache()
    pod = _object("Pod", status={"conditions": [{"type": "Ready", "status": "False"}]})
    cache._store("Pod", pod, wake=True)
    noted = deepcopy(pod)
    noted["metadata"]["annotations"] = {"status": "{}"}
    cache._store("Pod", noted, wake=True)
    assert rings == [KEY]
    ready = deepcopy(noted)
    ready["status"]["conditions"][0]["status"] = "True"
    cache._store("Pod", ready, wake=True)
    assert rings == [KEY, KEY]


def test_own_writes_are_seen_at_once_and_do_not_ring() -> None:
    cache, rings = _cache()
    cache.absorb(_object("Service", version=5))
    assert ("Service", "x") in cache.children(KEY)
    cache.absorb(_object("Service", version=4, spec={"stale": True}))
    assert "spec" not in cache.children(KEY)[("Service", "x")]
    assert rings == []


def _board(**meta: Any) -> dict[str, Any]:
    return _object("Scoreboard", "demo", meta={"generation": 1, **meta})


def test_deleted_secrets_keep_their_content_until_the_board_is_gone() -> None:
    cache, _ = _cache()
    cache._store("Scoreboard", _board(), wake=True)
    secret = _object("Secret", data={"a": "Yg=="})
    cache._store("Secret", secret, wake=True)
    cache._remove("Secret", secret)
    assert cache.children(KEY) == {}
    assert cache.deleted_secrets(KEY)["x"]["data"] == {"a": "Yg=="}
    cache._remove("Scoreboard", _board())
    assert cache.deleted_secrets(KEY) == {}


def test_secrets_deleted_with_their_board_are_not_kept() -> None:
    cache, _ = _cache()
    cache._store("Scoreboard", _board(deletionTimestamp="2026-01-01T00:00:00Z"), wake=True)
    secret = _object("Secret", data={"a": "Yg=="})
    cache._store("Secret", secret, wake=True)
    cache._remove("Secret", secret)
    assert cache.deleted_secrets(KEY) == {}


def test_objects_without_a_board_are_ignored() -> None:
    cache, rings = _cache()
    stray = _object("Pod", meta={"labels": {}})
    cache._store("Pod", stray, wake=True)
    assert rings == []


def test_a_node_that_changes_zone_rings_all_boards() -> None:
    cache, rings = _cache()
    node = _object("Node", meta={"labels": {"topology.kubernetes.io/zone": "a"}})
    cache._store("Node", node, wake=True)
    moved = _object("Node", version=2, meta={"labels": {"topology.kubernetes.io/zone": "b"}})
    cache._store("Node", moved, wake=True)
    assert rings == [None, None]
    assert cache.nodes()[0]["metadata"]["labels"]["topology.kubernetes.io/zone"] == "b"
