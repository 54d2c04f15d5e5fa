"""A board whose Kafka is up, as the API server and the brokers would show it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable
from typing import Any

from boards import board, live_workload

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.kafka.access import USERS, wanted_acls, wanted_users
from scoreboard_operator.components.kafka.desired import desired
from scoreboard_operator.components.kafka.state import Observed
from scoreboard_operator.components.kafka.topics import TopicState, wanted_topics


def secret(name: str, **data: str) -> Object:
    encoded = {key.replace("_", "."): b64encode(v.encode()).decode() for key, v in data.items()}
    return {"kind": "Secret", "metadata": {"name": name}, "data": encoded}


def secrets(certificate: str = "first", **passwords: str) -> list[Object]:
    """The Secrets the component reads; ``passwords`` replaces some users' passwords."""
    credentials = {f"{user}-password": passwords.get(user, f"{user}-secret") for user in USERS}
    return [
        secret("demo-kafka-credentials", **credentials, **{"cluster-id": "abc"}),
        secret("demo-kafka-tls", tls_crt=certificate),
        secret("demo-operator-tls", tls_crt="c", tls_key="k"),
        secret("demo-ca", ca_crt="authority"),
    ]


def running(
    of: Board | None = None, *, unready: Iterable[str] = (), certificate: str = "first"
) -> Snapshot:
    """The snapshot of a board whose brokers run as wanted, but for those of ``unready`` zones."""
    of = of or board()
    base = Snapshot({(o["kind"], o["metadata"]["name"]): o for o in secrets(certificate)})
    objects = dict(base.objects)
    for item in desired(of, base):
        name = item["metadata"]["name"]
        if item["kind"] != "StatefulSet":
            objects[item["kind"], name] = item
            continue
        ready = item["metadata"]["labels"]["scoreboard.dev/zone"] not in unready
        objects["StatefulSet", name] = live_workload(item, ready=ready)
        objects["Pod", f"{name}-0"] = pod(item, ready=ready)
    return Snapshot(objects)


def pod(workload: Object, *, ready: bool) -> Object:
    name = f"{workload['metadata']['name']}-0"
    labels = workload["spec"]["template"]["metadata"]["labels"]
    status = "True" if ready else "False"
    return {
        "kind": "Pod",
        "metadata": {"name": name, "uid": f"uid-{name}", "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": status}]},
    }


def settled(of: Board | None = None, snapshot: Snapshot | None = None, **changed: Any) -> Observed:
    """What the brokers say when all is as wanted; ``changed`` replaces fields."""
    of = of or board()
    found: dict[str, Any] = {
        "brokers": dict(enumerate(of.zones)),
        "topics": {
            topic.name: TopicState(
                topic.name, topic.partitions, topic.replication_factor, topic.config
            )
            for topic in wanted_topics(of)
        },
        "acls": wanted_acls(),
        "users": {
            user: credential.iterations
            for user, credential in wanted_users(of, snapshot or running(of)).items()
        },
    }
    return Observed(**(found | changed))


def workloads(of: Board, snapshot: Snapshot) -> dict[str, Object]:
    """The desired StatefulSets by zone."""
    return {
        item["metadata"]["labels"]["scoreboard.dev/zone"]: item
        for item in desired(of, snapshot)
        if item["kind"] == "StatefulSet"
    }
