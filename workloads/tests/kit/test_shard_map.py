"""The shard map document."""

import json
import uuid
from typing import Any

import pytest

from scoreboard.kit.identity import bucket_of
from scoreboard.kit.shard_map import ShardMap, parse_address


def document(**changes: Any) -> dict[str, Any]:
    return {
        "version": 3,
        "buckets": 960,
        "assignment": [bucket % 4 for bucket in range(960)],
        "shards": [
            {
                "index": n,
                "database": "scoreboard",
                "primary": f"demo-db-{n}-primary.demo.svc:5432",
                "replicas": f"demo-db-{n}-replicas.demo.svc:5432",
                "members": [{"zone": "zone-a", "host": f"demo-db-{n}-zone-a.demo.svc"}],
            }
            for n in range(4)
        ],
        "not-known-yet": True,
    } | changes


def parse(**changes: Any) -> ShardMap:
    return ShardMap.parse(json.dumps(document(**changes)).encode())


def test_a_user_is_on_the_shard_of_its_bucket() -> None:
    found = parse()
    user = uuid.UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
    assert found.shard_of(user) == bucket_of(user) % 4
    assert found.shards[2].primary == ("demo-db-2-primary.demo.svc", 5432)
    assert found.shards[2].members[0].address == ("demo-db-2-zone-a.demo.svc", 5432)


@pytest.mark.parametrize(
    "changes",
    [
        {"buckets": 100},
        {"assignment": [0] * 959},
        {"assignment": [9] * 960},
        {"shards": document()["shards"][:1] * 2},
        {"version": "x"},
        {"shards": [{"index": 0, "primary": "no port:x"}]},
    ],
)
def test_a_map_that_cannot_be_right_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        parse(**changes)


@pytest.mark.parametrize(
    ("text", "address"),
    [("db", ("db", 5432)), ("db:1", ("db", 1)), ("[::1]:5433", ("::1", 5433))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", ":5432", "db:", "db:x", "db:²"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(ValueError):
        parse_address(text)
