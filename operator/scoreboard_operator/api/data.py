"""Sections of the data layer: ``database``, ``kafka``, ``cache``."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from scoreboard_operator.api.base import (
    Model,
    Quantity,
    Resources,
    Rule,
    described,
    immutable,
    immutable_if_set,
)

BUCKETS = 960
"""Fixed number of buckets users are hashed into (design: 1-6, 8, 10, 12, 15, 16 … divide it)."""

TOPICS = ("score_updates", "user_actions", "system_events")


class Storage(Model):
    """The data volume of one member."""

    cel: ClassVar[tuple[Rule, ...]] = (
        immutable_if_set(
            "storageClassName",
            "storageClassName of a data volume is immutable, and so is leaving it out:"
            " create a new Scoreboard to change it",
        ),
    )

    size: Quantity = Field(
        default="2Gi",
        description="Size of the volume.",
        json_schema_extra=immutable("size of a data volume"),
    )
    storage_class_name: str | None = Field(
        default=None,
        description="StorageClass; the cluster's default when left out.",
        max_length=253,
    )


class Database(Model):
    """PostgreSQL 17 with Patroni: ``shards`` clusters with one member per zone."""

    cel: ClassVar[tuple[Rule, ...]] = (
        Rule(
            f"{BUCKETS} % self.shards == 0",
            f"database.shards must divide {BUCKETS}: use 1, 2, 3, 4, 5, 6, 8, 10, 12, 15 or 16",
            ".shards",
        ),
    )

    shards: int = Field(
        default=4,
        ge=1,
        le=16,
        description="Number of shards; must divide 960.",
        json_schema_extra=immutable("database.shards"),
    )
    storage: Storage = described(Storage, "Data volume of each member.")
    resources: Resources = described(
        lambda: Resources(cpu="50m", memory="384Mi"), "Resources of each member."
    )
    max_connections: int = described(
        100, "PostgreSQL max_connections of each member.", ge=50, le=5000
    )


class Topic(Model):
    """Settings of one Kafka topic."""

    partitions: int = Field(
        default=6,
        ge=1,
        le=256,
        description="Number of partitions; can only grow, or keys would change their partition.",
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "self >= oldSelf",
                    "message": "partitions can only grow: set it to the present number or more",
                }
            ]
        },
    )
    retention_hours: int = described(168, "How long records are kept, in hours.", ge=1, le=24 * 365)


class Topics(Model):
    """The three topics of the event bus."""

    score_updates: Topic = Field(
        default_factory=Topic,
        alias="score_updates",
        description="One record per acknowledged score, keyed by user id.",
    )
    user_actions: Topic = Field(
        default_factory=Topic,
        alias="user_actions",
        description="Registrations, sessions and profile changes, keyed by user id.",
    )
    system_events: Topic = Field(
        default_factory=lambda: Topic(partitions=1),
        alias="system_events",
        description="Events of the system itself.",
    )


class Kafka(Model):
    """Apache Kafka 4 in KRaft mode: one combined broker and controller per zone."""

    topics: Topics = described(Topics, "The topics and their settings, applied live.")
    storage: Storage = described(Storage, "Data volume of each broker.")
    heap: Annotated[str, Field(pattern=r"^[0-9]+[mg]$")] = described(
        "192m", "Java heap of each broker."
    )
    resources: Resources = described(
        lambda: Resources(cpu="100m", memory="512Mi"), "Resources of each broker."
    )


class Cache(Model):
    """Redis 8 Cluster: primary i in zone i, its replica in the next zone."""

    max_memory: Quantity = described("1Gi", "Redis maxmemory of each node; LRU eviction above it.")
    resources: Resources = described(
        lambda: Resources(cpu="25m", memory="1280Mi"),
        "Resources of each node; memory is the limit, the request is an eighth of it.",
    )
