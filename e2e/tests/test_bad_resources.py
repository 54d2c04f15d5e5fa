"""Issue 3, section 4, point 4: bad resources are refused by name, or stall and recover.

What the schema can tell is refused at `kubectl apply` with a sentence that names the field. What
only the cluster can tell (a Secret, a zone) sets Stalled with the field named, goes away by itself
once the missing thing appears, and disturbs no Scoreboard beside it.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest
import yaml

from e2e.cluster.config import CONTROL_PLANE
from e2e.cluster.paths import ROOT
from e2e.support import cluster, solo
from e2e.support.board import BoardHandle
from e2e.support.cluster import Object
from e2e.support.polling import eventually, throughout

ZONE_LABEL = "topology.kubernetes.io/zone"
ABSENT_ZONE = "zone-x"
MISSING_SECRET = "not-there-yet"

BAD: dict[str, tuple[Object, str]] = {
    "unknown field": ({"colour": "red"}, "spec.colour"),
    "unknown nested field": ({"kafka": {"brokers": 5}}, "spec.kafka.brokers"),
    "two zones": ({"zones": ["zone-a", "zone-b"]}, "spec.zones"),
    "four zones": ({"zones": ["a", "b", "c", "d"]}, "spec.zones"),
    "the same zone twice": ({"zones": ["zone-a", "zone-b", "zone-a"]}, "spec.zones"),
    "not a zone's name": ({"zones": ["Zone_A"]}, "spec.zones"),
    "shards do not divide 960": ({"database": {"shards": 7}}, "database.shards"),
    "no shard": ({"database": {"shards": 0}}, "spec.database.shards"),
    "too many shards": ({"database": {"shards": 32}}, "spec.database.shards"),
    "shards as text": ({"database": {"shards": "four"}}, "spec.database.shards"),
    "not a quantity": ({"database": {"storage": {"size": "big"}}}, "spec.database.storage.size"),
    "an engine of one's own": ({"cache": {"mode": "external"}}, "spec.cache.mode"),
    "no partitions": (
        {"kafka": {"topics": {"score_updates": {"partitions": 0}}}},
        "spec.kafka.topics.score_updates.partitions",
    ),
    "a topic of one's own": ({"kafka": {"topics": {"chat": {}}}}, "spec.kafka.topics.chat"),
    "no pod in a zone": (
        {"services": {"score": {"replicasPerZone": 0}}},
        "spec.services.score.replicasPerZone",
    ),
    "unknown log level": (
        {"services": {"user": {"logLevel": "loud"}}},
        "spec.services.user.logLevel",
    ),
    "node port without NodePort": (
        {"gateway": {"service": {"httpsNodePort": 30500}}},
        "gateway.service.httpsNodePort",
    ),
    "node port out of range": (
        {"gateway": {"service": {"type": "NodePort", "httpsNodePort": 443}}},
        "spec.gateway.service.httpsNodePort",
    ),
    "the same node port twice": (
        {
            "gateway": {
                "service": {"type": "NodePort", "httpsNodePort": 30500, "httpNodePort": 30500}
            }
        },
        "gateway.service.httpsNodePort",
    ),
    "smallest above largest": (
        {"rules": {"actions": {"default": {"minChange": 5, "maxChange": 1}}}},
        "minChange",
    ),
    "no actions": ({"rules": {"actions": {}}}, "spec.rules.actions"),
    "an action's name": ({"rules": {"actions": {"Level-Up": {}}}}, "rules.actions"),
    "no rate": (
        {"gateway": {"rateLimit": {"requestsPerSecond": 0}}},
        "spec.gateway.rateLimit.requestsPerSecond",
    ),
    "unknown deletion policy": ({"deletionPolicy": "Shred"}, "spec.deletionPolicy"),
}

BAD_UPDATES: dict[str, tuple[Object, str]] = {
    "other zones": ({"zones": ["zone-a", "zone-b", "zone-c"]}, "zones is immutable"),
    "another shard count": ({"database": {"shards": 8}}, "database.shards is immutable"),
    "another volume size": (
        {"database": {"storage": {"size": "9Gi"}}},
        "spec.database.storage.size",
    ),
    "a storage class later": (
        {"kafka": {"storage": {"storageClassName": "fast"}}},
        "spec.kafka.storage.storageClassName",
    ),
    "fewer partitions": (
        {"kafka": {"topics": {"score_updates": {"partitions": 3}}}},
        "spec.kafka.topics.score_updates.partitions",
    ),
}


def bad_board(spec: Object, name: str = "bad") -> Object:
    """A Scoreboard with this spec, for the API server to judge."""
    return {
        "apiVersion": "scoreboard.dev/v1alpha1",
        "kind": "Scoreboard",
        "metadata": {"name": name, "namespace": "demo"},
        "spec": spec,
    }


@pytest.mark.parametrize("case", BAD)
def test_refused_at_creation(standing: BoardHandle, case: str) -> None:
    """The API server refuses the manifest and names the field."""
    spec, named = BAD[case]
    assert named in cluster.refusal(bad_board(spec))


@pytest.mark.parametrize("name", ["a-name-longer-than-twenty", "0-first", "with.dot"])
def test_names_that_others_cannot_be_made_from(standing: BoardHandle, name: str) -> None:
    """metadata.name is limited, because the names of everything else derive from it."""
    assert "metadata.name" in cluster.refusal(bad_board({}, name))


@pytest.mark.parametrize("case", BAD_UPDATES)
def test_refused_as_an_update(demo: BoardHandle, case: str) -> None:
    """What cannot change later is refused as an edit of the running Scoreboard."""
    change, named = BAD_UPDATES[case]
    assert named in cluster.refusal(bad_board({}, demo.name), {"spec": change})


@pytest.mark.parametrize("sample", ["minimal", "full", "one-zone", "demo"])
def test_samples_are_accepted(standing: BoardHandle, sample: str) -> None:
    """The shipped samples pass the same gate."""
    shipped = yaml.safe_load((ROOT / "docs" / "samples" / f"{sample}.yaml").read_text())
    assert cluster.refusal(bad_board(shipped["spec"], "sample")) == ""


@pytest.mark.timeout(300)
def test_a_missing_secret_stalls_until_it_appears(
    demo: BoardHandle, solo_board: BoardHandle
) -> None:
    """spec.gateway.tls.secretName names nothing: Stalled, all keeps running, then it recovers."""
    neighbours, own = demo.pod_uids(), solo_board.pod_uids()
    # The certificate the Scoreboard made itself will do as somebody else's.
    certificate = cluster.need("Secret", solo_board.namespace, "solo-gateway-tls")["data"]
    solo_board.patch({"gateway": {"tls": {"secretName": MISSING_SECRET}}})
    stalled = solo_board.wait_stalled("SecretNotFound")
    assert "spec.gateway.tls.secretName" in stalled["message"]
    assert MISSING_SECRET in stalled["message"]
    conditions = solo_board.conditions()
    assert conditions["Ready"]["status"] == "False"
    assert "Reconciling" not in conditions
    # Whatever else it does meanwhile, it stops nothing of this Scoreboard or the one beside it.
    throughout(5, lambda: _same_pods(solo_board, own))
    assert solo_board.gateway.leaderboard()["total"] >= 0

    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": MISSING_SECRET, "namespace": solo_board.namespace},
        "type": "kubernetes.io/tls",
        "data": {key: certificate[key] for key in ("tls.crt", "tls.key")},
    }
    cluster.said(cluster.apply(secret))
    solo_board.wait_ready(limit=120)
    assert "Stalled" not in solo_board.conditions()
    assert solo_board.gateway.leaderboard()["total"] >= 0
    assert demo.is_ready()
    assert demo.pod_uids() == neighbours

    solo_board.patch({"gateway": {"tls": {"secretName": None}}})
    solo_board.wait_ready(limit=120)
    cluster.delete("Secret", solo_board.namespace, MISSING_SECRET)
    assert base64.b64decode(certificate["tls.crt"]).startswith(b"-----BEGIN")


@pytest.fixture
def lost_board(clean_solo: None) -> Iterator[BoardHandle]:
    """A Scoreboard in a zone that no node is in; it and the zone's label go at the end."""
    board = BoardHandle(solo.NAMESPACE, "lost", "")
    solo.apply(solo.manifest("lost", zones=[ABSENT_ZONE], deletionPolicy="Delete"))
    yield board
    solo.delete("lost")
    _label_control_plane(None)


def test_an_absent_zone_stalls_until_a_node_is_in_it(
    demo: BoardHandle, lost_board: BoardHandle
) -> None:
    """spec.zones names a zone without nodes: Stalled; a node of that zone ends it."""
    neighbours = demo.pod_uids()
    stalled = lost_board.wait_stalled("ZoneNotFound")
    assert "spec.zones" in stalled["message"]
    assert ABSENT_ZONE in stalled["message"]
    assert lost_board.conditions()["Ready"]["status"] == "False"
    assert not lost_board.objects("StatefulSet")

    _label_control_plane(ABSENT_ZONE)

    def recovered() -> bool:
        conditions = lost_board.conditions()
        assert "Stalled" not in conditions, conditions["Stalled"]["message"]
        assert lost_board.objects("StatefulSet"), "nothing is being made yet"
        return True

    eventually(recovered, "the Scoreboard goes on by itself", limit=60)
    assert demo.is_ready()
    assert demo.pod_uids() == neighbours


def _label_control_plane(zone: str | None) -> None:
    cluster.patch("Node", None, CONTROL_PLANE, {"metadata": {"labels": {ZONE_LABEL: zone}}})


def _same_pods(board: BoardHandle, before: dict[str, tuple[str, int]]) -> None:
    assert board.pod_uids() == before
