"""What the data layer of a Scoreboard really holds, asked inside the cluster.

PostgreSQL through its local socket, Redis through `redis-cli`, Kafka through a small pod of the
scoreboard image that carries the passwords of this Scoreboard.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from e2e.support import cluster
from e2e.support.board import BoardHandle
from e2e.support.polling import eventually

Row = dict[str, Any]

TOOLS: Final = "e2e-tools"
_MASK: Final = 0x7FFF_FFFF_FFFF_FFFF


def bucket_of(user_id: str) -> int:
    """The bucket of a user, from the documented formula."""
    digest = hashlib.sha256(UUID(user_id).bytes).digest()
    return (int.from_bytes(digest[:8], "big") & _MASK) % 960


def murmur2_partition(key: bytes, partitions: int) -> int:
    """The partition Kafka's default partitioner gives a key."""
    return (_murmur2(key) & 0x7FFF_FFFF) % partitions


def _murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, with the seed and byte order Kafka's Java client uses."""
    factor, word = 0x5BD1E995, 0xFFFF_FFFF
    value = 0x9747B28C ^ len(data)
    whole = len(data) - len(data) % 4
    for place in range(0, whole, 4):
        part = int.from_bytes(data[place : place + 4], "little") * factor & word
        part = (part ^ part >> 24) * factor & word
        value = (value * factor & word) ^ part
    rest = data[whole:]
    if rest:
        value = (value ^ int.from_bytes(rest, "little")) * factor & word
    value = (value ^ value >> 13) * factor & word
    return value ^ value >> 15


def shards(board: BoardHandle) -> list[int]:
    """Indexes of the shards."""
    return list(range(len(shard_map(board)["shards"])))


def shard_map(board: BoardHandle) -> Row:
    """The shard map the services read."""
    text = cluster.need("ConfigMap", board.namespace, f"{board.name}-shard-map")["data"]
    found: Row = json.loads(text["shard-map.json"])
    return found


def owning_shard(board: BoardHandle, user_id: str) -> int:
    """The shard a user's rows belong on."""
    return int(shard_map(board)["assignment"][bucket_of(user_id)])


def primary(board: BoardHandle, shard: int) -> str:
    """Pod that takes the shard's writes now, by Patroni's own label."""
    selector = (
        f"scoreboard.dev/scoreboard={board.name},app.kubernetes.io/component=database,"
        f"scoreboard.dev/shard={shard},scoreboard.dev/role=primary"
    )
    pods = cluster.listing("Pod", board.namespace, selector)
    assert len(pods) == 1, f"shard {shard} has {len(pods)} primaries"
    return str(pods[0]["metadata"]["name"])


def sql(board: BoardHandle, shard: int, query: str) -> list[Row]:
    """Rows of a query on the shard's primary, as PostgreSQL's superuser."""
    statement = f"select coalesce(json_agg(found), '[]') from ({query}) as found"
    command = ["psql", "-h", "/run/pg", "-U", "postgres", "-d", "scoreboard", "-XAtqc", statement]
    rows: list[Row] = json.loads(cluster.execute(board.namespace, primary(board, shard), command))
    return rows


def everywhere(board: BoardHandle, query: str) -> dict[int, list[Row]]:
    """Rows of a query on every shard."""
    return {shard: sql(board, shard, query) for shard in shards(board)}


def redis(board: BoardHandle, *command: str) -> str:
    """Answer of redis-cli inside a cache pod, following the cluster's redirections."""
    pods = board.pods("cache")
    assert pods, "there are no cache pods"
    script = (
        'REDISCLI_AUTH="$(cat /etc/scoreboard/credentials/operator-password)" exec redis-cli'
        " --no-auth-warning -c --tls --cacert /etc/scoreboard/tls/ca.crt"
        " --cert /etc/scoreboard/tls/tls.crt --key /etc/scoreboard/tls/tls.key"
        ' --user operator -h "$0" "$@"'
    )
    pod = pods[0]["metadata"]["name"]
    host = f"{pod}.{board.name}-cache.{board.namespace}.svc"
    return cluster.execute(board.namespace, pod, ["sh", "-c", script, host, *command]).strip()


@dataclass(frozen=True)
class Record:
    """One Kafka record."""

    partition: int
    offset: int
    key: str
    value: Row
    headers: dict[str, str]


_CONNECT = """
import asyncio, json, ssl, sys
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
asked = json.loads(sys.argv[1])
options = dict(
    bootstrap_servers=asked["bootstrap"], security_protocol="SASL_SSL",
    ssl_context=ssl.create_default_context(cafile="/e2e/tls/ca.crt"),
    sasl_mechanism="SCRAM-SHA-512", sasl_plain_username="admin",
    sasl_plain_password=open("/e2e/kafka/admin-password").read().strip(),
)
"""

_READ = """
async def main():
    consumer = AIOKafkaConsumer(**options)
    await consumer.start()
    try:
        places = [TopicPartition(asked["topic"], number) for number in range(asked["partitions"])]
        consumer.assign(places)
        ends = await consumer.end_offsets(places)
        await consumer.seek_to_beginning(*places)
        while any([await consumer.position(place) < end for place, end in ends.items()]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for item in batch:
                    if item.key == asked["key"].encode():
                        print(json.dumps([item.partition, item.offset, item.key.decode(),
                            json.loads(item.value), {k: v.decode() for k, v in item.headers}]))
    finally:
        await consumer.stop()
asyncio.run(main())
"""

_SETTINGS = """
async def main():
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        topic = ConfigResource(ConfigResourceType.TOPIC, asked["topic"], asked["change"] or None)
        if asked["change"]:
            await admin.alter_configs([topic])
        for answer in await admin.describe_configs([topic]):
            for resource in answer.resources:
                print(json.dumps({entry[0]: entry[1] for entry in resource[4]}))
    finally:
        await admin.close()
asyncio.run(main())
"""

_DESCRIBE = """
async def main():
    admin = AIOKafkaAdminClient(**options)
    await admin.start()
    try:
        cluster = await admin.describe_cluster()
        topics = await admin.describe_topics(asked["topics"])
        print(json.dumps({
            "brokers": [{"host": b["host"], "rack": b["rack"]} for b in cluster["brokers"]],
            "topics": {t["topic"]: [p["replicas"] for p in t["partitions"]] for t in topics},
        }))
    finally:
        await admin.close()
asyncio.run(main())
"""


def partitions(board: BoardHandle, topic: str) -> int:
    """Number of partitions of a topic, from the status."""
    rows = {row["name"]: row for row in board.resource()["status"]["topics"]}
    return int(rows[topic]["partitions"])


def records(board: BoardHandle, topic: str, key: str) -> list[Record]:
    """Every record of a topic with this key, read from the beginning to the present end."""
    asked = {"topic": topic, "key": key, "partitions": partitions(board, topic)}
    lines = _kafka(board, _READ, asked).splitlines()
    return sorted((Record(*json.loads(line)) for line in lines), key=lambda found: found.offset)


def topic_settings(
    board: BoardHandle, topic: str, change: dict[str, str] | None = None
) -> dict[str, str]:
    """Settings of a topic as the brokers have them; ``change`` is made first, by hand."""
    found: dict[str, str] = json.loads(
        _kafka(board, _SETTINGS, {"topic": topic, "change": change or {}}).splitlines()[-1]
    )
    return found


def kafka_cluster(board: BoardHandle) -> Row:
    """Brokers with host and rack, and the replicas of every partition, as Kafka has them."""
    topics = [row["name"] for row in board.resource()["status"]["topics"]]
    found: Row = json.loads(_kafka(board, _DESCRIBE, {"topics": topics}).splitlines()[-1])
    return found


def _kafka(board: BoardHandle, script: str, asked: Row) -> str:
    arguments = json.dumps({**asked, "bootstrap": f"{board.name}-kafka.{board.namespace}.svc:9092"})
    tools_pod(board)
    command = ["python", "-", arguments]
    return cluster.execute(board.namespace, TOOLS, command, stdin=_CONNECT + script, limit=120)


def tools_pod(board: BoardHandle) -> None:
    """Have the pod that asks Kafka; it is made once and lasts for the whole run."""
    existing = cluster.get("Pod", board.namespace, TOOLS)
    if existing is None:
        image = board.resource()["status"]["images"]["scoreboard"]
        cluster.said(cluster.apply(_tools_manifest(board, image)))
    eventually(lambda: _running(board), "the tools pod runs", limit=90)


def remove_tools(board: BoardHandle) -> None:
    """Take the tools pod away."""
    cluster.delete("Pod", board.namespace, TOOLS, grace=0)


def _running(board: BoardHandle) -> bool:
    pod = cluster.need("Pod", board.namespace, TOOLS)
    return bool(pod["status"].get("phase") == "Running")


def _tools_manifest(board: BoardHandle, image: str) -> cluster.Object:
    container = {
        "name": "tools",
        "image": image,
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "tls", "mountPath": "/e2e/tls", "readOnly": True},
            {"name": "kafka", "mountPath": "/e2e/kafka", "readOnly": True},
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": TOOLS, "namespace": board.namespace},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "volumes": [
                {"name": "tls", "secret": {"secretName": f"{board.name}-kafka-tls"}},
                {"name": "kafka", "secret": {"secretName": f"{board.name}-kafka-credentials"}},
            ],
        },
    }
