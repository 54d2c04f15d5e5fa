"""Issue 3, section 4, point 2: everything is in its zone, and a zone's pods may die.

Placement is read back from the API and from the engines themselves. Then the service pods of each
zone in turn are killed under a light client, which loses no request that it retries once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from e2e.support import cluster, data, nodes
from e2e.support.api import Player
from e2e.support.board import BoardHandle
from e2e.support.load import LightLoad
from e2e.support.polling import eventually

ZONES = ("zone-a", "zone-b", "zone-c")
SERVICES = ("score", "user", "notification")
PLAYERS = 5


def zone_of(pod: cluster.Object, by_node: dict[str, str]) -> str:
    """The zone of the node a pod runs on."""
    return by_node[pod["spec"]["nodeName"]]


def test_every_pod_runs_in_the_zone_it_says(demo: BoardHandle) -> None:
    """One pod of every service in every zone, four shards' members, a broker, two cache nodes."""
    by_node = cluster.zones()
    counted: Counter[tuple[str, str]] = Counter()
    for pod in demo.pods():
        labels = cluster.labels_of(pod)
        component = labels["app.kubernetes.io/component"]
        if component == "migrations":
            continue
        zone = zone_of(pod, by_node)
        assert labels["scoreboard.dev/zone"] == zone, pod["metadata"]["name"]
        counted[component, zone] += 1
    per_zone = {"database": 4, "kafka": 1, "cache": 2, "gateway": 1}
    per_zone |= dict.fromkeys(SERVICES, 1)
    expected = {(what, zone): number for what, number in per_zone.items() for zone in ZONES}
    assert counted == expected


def test_operator_replicas_are_in_different_zones(demo: BoardHandle) -> None:
    """Two operators, two zones."""
    pods = cluster.listing("Pod", "scoreboard-system", "app.kubernetes.io/name=scoreboard-operator")
    by_node = cluster.zones()
    assert len({zone_of(pod, by_node) for pod in pods}) == 2


def test_shards_have_their_members_in_the_three_zones(demo: BoardHandle) -> None:
    """Each shard: a primary in the first zone and streaming replicas in the other two."""
    by_node = cluster.zones()
    for shard in data.shards(demo):
        members = demo.pods("database", shard=str(shard))
        assert {zone_of(pod, by_node) for pod in members} == set(ZONES), f"shard {shard}"
        [primary] = [pod for pod in members if pod["metadata"]["name"] == data.primary(demo, shard)]
        assert zone_of(primary, by_node) == ZONES[0], f"primary of shard {shard}"
        check = partial(_replicas_stream, demo, shard)
        eventually(check, f"shard {shard}: both replicas stream", limit=60)


def _replicas_stream(demo: BoardHandle, shard: int) -> bool:
    """The primary's own view; Patroni keeps a nameless connection of its own, which is no replica.

    A replica that has just reconnected is in ``startup`` or ``catchup`` for a moment.
    """
    question = (
        "select application_name, state, sync_state from pg_stat_replication"
        " where application_name <> ''"
    )
    streaming = data.sql(demo, shard, question)
    assert [row["state"] for row in streaming] == ["streaming"] * 2, streaming
    assert any(row["sync_state"] in ("sync", "quorum") for row in streaming), streaming
    return True


def test_brokers_have_the_rack_of_their_zone(demo: BoardHandle) -> None:
    """Kafka itself says: three brokers, rack = zone, every partition in all three."""
    described = data.kafka_cluster(demo)
    racks = {broker["host"]: broker["rack"] for broker in described["brokers"]}
    assert racks == {f"demo-kafka-{zone}.demo.svc": zone for zone in ZONES}
    for topic, partitions in described["topics"].items():
        for replicas in partitions:
            assert len(set(replicas)) == 3, f"{topic}: {replicas}"


def test_cache_nodes_are_pinned(demo: BoardHandle) -> None:
    """Redis itself says: primary i in zone i, its replica in the next zone, all slots served."""
    by_node = cluster.zones()
    zones = {p["metadata"]["name"]: zone_of(p, by_node) for p in demo.pods("cache")}
    table = [line.split() for line in data.redis(demo, "CLUSTER", "NODES").splitlines()]
    found = {}
    for identity, address, flags, primary, *rest in table:
        # address is ip:port@bus,hostname; the host name starts with the pod's
        pod = address.split(",")[1].split(".")[0]
        found[identity] = (pod, "master" in flags, primary, rest[4:])
        assert "fail" not in flags, f"{pod}: {flags}"
    primaries = {i: pod for i, (pod, is_primary, _, _) in found.items() if is_primary}
    assert sorted(zones[pod] for pod in primaries.values()) == list(ZONES)
    covered = 0
    for pod, is_primary, primary, slots in found.values():
        if is_primary:
            for part in slots:
                first, _, last = part.partition("-")
                covered += int(last or first) - int(first) + 1
        else:
            home = ZONES.index(zones[primaries[primary]])
            assert zones[pod] == ZONES[(home + 1) % 3], f"{pod} replicates {primaries[primary]}"
    assert covered == 16_384
    by_zone = {zones[pod]: slots for pod, is_primary, _, slots in found.values() if is_primary}
    firsts = [int(by_zone[zone][0].split("-")[0]) for zone in ZONES]
    assert firsts == sorted(firsts), "slot range i belongs to zone i"


@pytest.mark.timeout(420)
def test_service_pods_die_zone_by_zone(
    demo: BoardHandle,
    new_player: Callable[[], Player],
    measured: Callable[[str, float], None],
) -> None:
    """SIGKILL of the service pods of each zone in turn: nothing lost that is retried once."""
    players = [new_player() for _ in range(PLAYERS)]
    with LightLoad(demo.gateway, players) as load:
        eventually(lambda: load.report.requests > 20, "the client is playing", limit=60)
        for zone in ZONES:
            doomed = [pod for service in SERVICES for pod in demo.pods(service, zone=zone)]
            assert len(doomed) == len(SERVICES)
            for pod in doomed:
                assert nodes.sigkill(pod), f"{pod['metadata']['name']} had no process"
                cluster.delete("Pod", demo.namespace, pod["metadata"]["name"], grace=0)
            gone = {pod["metadata"]["uid"] for pod in doomed}
            healed = eventually(
                partial(_served_again, demo, zone, gone),
                f"the services of {zone} are back",
                limit=120,
                every=0.5,
            )
            measured(f"services of {zone} back", healed.seconds)
    report = load.report
    print(f"{report.requests} requests, {len(report.retried)} retried: {report.retried}")
    assert not report.lost, report.lost
    assert sum(report.accepted.values()) >= PLAYERS
    for player in players:
        [row] = data.sql(
            demo,
            data.owning_shard(demo, player.id),
            f"select current_score from scores where user_id = '{player.id}'",
        )
        assert row["current_score"] == report.accepted[player.id]


def _served_again(board: BoardHandle, zone: str, gone: set[str]) -> bool:
    """Whether every service has a new pod in the zone, each of them ready, and the board is too.

    The board alone would not do: it may not have noticed yet that anything is amiss.
    """
    for service in SERVICES:
        pods = [pod for pod in board.pods(service, zone=zone) if _ready(pod)]
        assert pods, f"{service} has no ready pod in {zone}"
        assert not {pod["metadata"]["uid"] for pod in pods} & gone, f"{service} was not killed"
    return board.is_ready()


def _ready(pod: cluster.Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
