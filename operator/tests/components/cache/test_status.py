"""What is read from the nodes' replies, and what is said about it."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from redis.exceptions import ResponseError

from scoreboard_operator.components.base import Snapshot
from scoreboard_operator.components.cache import COMPONENT
from scoreboard_operator.components.cache.client import Wire
from scoreboard_operator.components.cache.desired import zone_workload
from scoreboard_operator.components.cache.layout import (
    Node,
    Observed,
    Peer,
    node_of_pod,
    wanted_layout,
)
from scoreboard_operator.components.cache.observe import (
    _memory,
    _remembered,
    parse_nodes,
    read_replies,
)

from .lab import make_board

BOARD = make_board()
LAYOUT = wanted_layout(BOARD)
A0, A1, B0, B1, C0, C1 = (f"demo-cache-zone-{z}-{i}" for z in "abc" for i in (0, 1))

TABLE = """\
07c3 198.19.1.4:6379@16379,demo-cache-zone-a-0.demo-cache.demo.svc myself,master - 0 0 7 \
connected 0-5460 5462 [93-<-292f]
67ed 198.19.1.5:6379@16379,demo-cache-zone-b-1.demo-cache.demo.svc,shard-id=1 slave 07c3 0 14 7 \
disconnected
6ec2 :0@0 master,fail,noaddr - 14 14 3 disconnected 7
292f [fd00::5]:6379@16379, handshake - 0 0 0 connected
"""


def whole() -> Observed:
    """The wanted layout, everything well."""
    nodes: dict[str, Node] = {}
    rows: dict[str, Peer] = {}
    for place in LAYOUT.places:
        primary = LAYOUT.of_part(place.part)[0].pod
        slots = LAYOUT.slots(place.part) if place.primary else frozenset[int]()
        leader = None if place.primary else f"id-{primary}"
        rows[place.pod] = Peer(
            f"id-{place.pod}", place.pod, place.pod, 6379, frozenset(), leader, True, slots
        )
        nodes[place.pod] = Node(
            place.pod, place.zone, ip=place.pod, present=True, ready=True, trouble=None,
            id=f"id-{place.pod}", primary_id=leader, slots=slots, link_up=not place.primary,
            working=True, uptime=1000,
        )  # fmt: skip
    for pod, node in nodes.items():
        peers = {row.id: row for other, row in rows.items() if other != pod}
        nodes[pod] = replace(node, peers=peers)
    return Observed(LAYOUT, nodes)


def with_node(seen: Observed, pod: str, **changes: object) -> Observed:
    return replace(seen, nodes={**seen.nodes, pod: replace(seen.nodes[pod], **changes)})  # type: ignore[arg-type]


def test_cluster_nodes_is_read_in_all_its_forms() -> None:
    first, replica, gone, new = parse_nodes(TABLE)
    assert (first.pod, first.ip, first.port, first.epoch) == (A0, "198.19.1.4", 6379, 7)
    assert first.slots == frozenset(range(5461)) | {5462}
    assert (replica.pod, replica.primary_id, replica.linked) == (B1, "07c3", False)
    assert (gone.pod, gone.ip, gone.port) == (None, "", 0)
    assert "handshake" in new.flags


def test_replies_become_a_node() -> None:
    blank = Node(A0, "zone-a", ip="198.19.1.4", present=True, ready=True)
    replies = [
        TABLE,
        "cluster_state:ok\r\ncluster_size:3\r\n",
        "# Replication\r\nrole:master\r\nmaster_repl_offset:42\r\n",
        "uptime_in_seconds:9\r\n",
        ["maxmemory", "5", "maxmemory-policy", "volatile-lru"],
    ]
    wanted = {"maxmemory": "6", "maxmemory-policy": "volatile-lru"}
    node = read_replies(blank, replies, wanted)
    assert (node.id, node.offset, node.uptime, node.working) == ("07c3", 42, 9, True)
    assert node.is_primary
    assert node.drift == {"maxmemory": "6"}
    assert set(node.peers) == {"67ed", "6ec2", "292f"}
    refused = read_replies(blank, [*replies[:-1], ResponseError("NOPERM no")], wanted)
    assert refused.trouble == "NOPERM no"


def test_a_pod_without_address_has_no_identity_to_keep() -> None:
    place = LAYOUT.places[0]
    meta = {"name": A0, "labels": {}}
    assert not node_of_pod(place, None).present
    pending = {"metadata": meta, "status": {"phase": "Pending"}}
    assert not node_of_pod(place, pending).present
    assert node_of_pod(place, {"metadata": meta, "status": {"phase": "Running"}}).present
    failed = {"metadata": meta, "status": {"phase": "Failed", "podIP": "198.19.1.4"}}
    assert not node_of_pod(place, failed).present


def test_a_whole_cluster_is_ready() -> None:
    said = COMPONENT.status(BOARD, Snapshot(), whole())
    assert (said.ready, said.reason) == (True, "Ready")
    rows = said.tables["cacheNodes"]
    assert rows[0] == {
        "pod": A0, "zone": "zone-a", "role": "primary", "slots": "0-5460",
        "linkState": "connected",
    }  # fmt: skip
    assert rows[3]["slots"] == "0-5460"


def test_what_is_awaited_is_named() -> None:
    silent = with_node(whole(), B1, trouble="does not answer in time", ready=False)
    said = COMPONENT.status(BOARD, Snapshot(), silent)
    assert (said.ready, said.reason) == (False, "WaitingForNodes")
    assert B1 in said.message

    syncing = COMPONENT.status(BOARD, Snapshot(), with_node(whole(), B1, link_up=False))
    assert (syncing.ready, syncing.reason) == (False, "ReplicaSyncing")

    blind = COMPONENT.status(BOARD, Snapshot(), with_node(whole(), C0, working=False))
    assert (blind.ready, blind.reason) == (False, "Settling")

    lost = with_node(whole(), A0, trouble="no pod yet", ready=False, present=False)
    said = COMPONENT.status(BOARD, Snapshot(), lost)
    assert (said.ready, said.reason) == (False, "SlotsUncovered")
    assert "5461 of 16384" in said.message


def test_a_cluster_not_formed_yet_says_so() -> None:
    nodes = {
        p.pod: Node(p.pod, p.zone, ip=p.pod, present=True, ready=True, trouble=None, id=p.pod)
        for p in LAYOUT.places
    }
    said = COMPONENT.status(BOARD, Snapshot(), Observed(LAYOUT, nodes))
    assert (said.ready, said.reason) == (False, "FormingCluster")


def test_one_missed_answer_is_no_outage_when_all_peers_see_the_node() -> None:
    missed = with_node(whole(), A0, trouble="does not answer in time")
    assert COMPONENT.status(BOARD, Snapshot(), missed).ready
    peers = dict(missed.nodes[C1].peers)
    peers[f"id-{A0}"] = replace(peers[f"id-{A0}"], flags=frozenset({"master", "fail?"}))
    suspected = with_node(missed, C1, peers=peers)
    assert COMPONENT.status(BOARD, Snapshot(), suspected).reason == "SlotsUncovered"


def live(zone: str, *, current: bool = True, ready: bool = True) -> dict[tuple[str, str], object]:
    wanted = zone_workload(BOARD, zone)
    if not current:
        wanted["metadata"]["annotations"] = {}
    status = {
        "observedGeneration": 1, "updateRevision": "r", "currentRevision": "r",
        "readyReplicas": 2 if ready else 1,
    }  # fmt: skip
    meta = {**wanted["metadata"], "generation": 1}
    return {
        ("StatefulSet", wanted["metadata"]["name"]): {**wanted, "metadata": meta, "status": status}
    }


def held(seen: Observed, zone: str, *live_sets: dict[tuple[str, str], object]) -> str | None:
    objects = {key: value for one in live_sets for key, value in one.items()}
    assert COMPONENT.hold is not None
    return COMPONENT.hold(BOARD, Snapshot(objects), seen, zone_workload(BOARD, zone))  # type: ignore[arg-type]


def test_zones_restart_one_after_the_other() -> None:
    old = [live(zone, current=False) for zone in BOARD.zones]
    assert held(whole(), "zone-a", *old) is None
    assert held(whole(), "zone-b", *old) == "zone-a is updated first"
    rolling = [live("zone-a", ready=False), *old[1:]]
    assert held(whole(), "zone-b", *rolling) == "zone-a is still restarting"
    assert held(whole(), "zone-b", live("zone-a"), *old[1:]) is None


def test_a_zone_with_a_last_copy_waits_and_a_broken_zone_may_go() -> None:
    old = [live(zone, current=False) for zone in BOARD.zones]
    alone = with_node(whole(), B1, link_up=False)
    assert "no copy on demo-cache-zone-b-1" in str(held(alone, "zone-a", *old))
    broken = whole()
    for pod in (A0, A1):
        broken = with_node(broken, pod, trouble="no pod yet", ready=False, slots=frozenset())
    assert held(broken, "zone-a", *old) is None


def test_a_ready_node_that_is_silent_for_a_moment_is_taken_at_its_last_word() -> None:
    whole_rows = COMPONENT.status(BOARD, Snapshot(), whole()).tables
    seen = whole()
    for pod, node in whole().nodes.items():  # all of them: there are no peers to vouch
        seen = with_node(seen, pod, trouble="does not answer in time")
        seen = replace(seen, remembered={**seen.remembered, pod: node})
    said = COMPONENT.status(BOARD, Snapshot(), seen)
    assert (said.ready, said.reason, said.tables) == (True, "Ready", whole_rows)
    assert "did not answer" in str(held(seen, "zone-a"))


def test_no_last_word_stands_against_peers_that_agree_on_a_failure() -> None:
    seen = with_node(whole(), B0, trouble="does not answer in time")
    for pod in (A0, A1, B1, C0, C1):
        node = seen.nodes[pod]
        row = replace(node.peers[f"id-{B0}"], flags=frozenset({"master", "fail"}))
        seen = with_node(seen, pod, peers={**node.peers, row.id: row})
    seen = replace(seen, remembered={B0: whole().nodes[B0]})
    said = COMPONENT.status(BOARD, Snapshot(), seen)
    assert (said.ready, said.reason) == (False, "SlotsUncovered")


def test_a_last_word_is_kept_for_two_silent_looks_at_the_same_pod() -> None:
    _memory.drop(BOARD, B0)
    well = whole().nodes[B0]
    silent = replace(well, trouble="does not answer in time")
    assert _remembered(BOARD, [silent]) == {}  # it never said anything
    assert _remembered(BOARD, [well]) == {}
    assert [bool(_remembered(BOARD, [silent])) for _ in range(3)] == [True, True, False]
    _remembered(BOARD, [well])
    assert _remembered(BOARD, [replace(silent, ip="198.19.9.9")]) == {}
    _remembered(BOARD, [well])
    assert _remembered(BOARD, [replace(silent, ready=False)]) == {}
    assert _remembered(BOARD, [silent]) == {}  # not ready in between: perhaps a new pod


def test_steps_wait_while_somebody_is_taken_at_a_last_word(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = Wire(BOARD, None, None, None)
    module = sys.modules["scoreboard_operator.components.cache.steps"]
    monkeypatch.setattr(module, "wire", lambda board, snapshot: connection)
    broken = with_node(whole(), B1, primary_id=None, link_up=False)
    assert COMPONENT.steps(BOARD, Snapshot(), broken, frozenset())
    doubted = replace(broken, remembered={C1: whole().nodes[C1]})
    assert COMPONENT.steps(BOARD, Snapshot(), doubted, frozenset()) == ()
