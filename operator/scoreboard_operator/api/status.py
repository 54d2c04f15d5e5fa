"""What the operator reports in ``.status``; kstatus-exact (`Ready`, `Reconciling`, `Stalled`)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class StatusModel(BaseModel):
    """Base of status sections; tolerant, since a newer operator may have written them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Condition(StatusModel):
    """One condition, as in ``metav1.Condition``."""

    type: str = Field(description="Name of the condition, e.g. Ready or DatabaseReady.")
    status: str = Field(description="True, False or Unknown.")
    reason: str = Field(description="Stable CamelCase word for the state.")
    message: str = Field(description="What is awaited, for whom and where.")
    observed_generation: int = Field(description="Generation the condition speaks of.")
    last_transition_time: str = Field(
        description="When status last changed (RFC 3339).",
        json_schema_extra={"format": "date-time"},
    )


class ZoneRow(StatusModel):
    """Ready of wanted pods of each component in one zone, as ``1/1``."""

    name: str = Field(description="The zone.")
    score: str | None = Field(default=None, description="Score pods.")
    user: str | None = Field(default=None, description="User pods.")
    notification: str | None = Field(default=None, description="Notification pods.")
    gateway: str | None = Field(default=None, description="Gateway pods.")
    database: str | None = Field(default=None, description="Database members.")
    kafka: str | None = Field(default=None, description="Kafka brokers.")
    cache: str | None = Field(default=None, description="Redis nodes.")


class ShardRow(StatusModel):
    """One database shard."""

    index: int = Field(description="Shard number, from 0.")
    primary: str | None = Field(default=None, description="Pod that takes writes.")
    zone: str | None = Field(default=None, description="Zone of the primary.")
    timeline: int | None = Field(
        default=None, description="PostgreSQL timeline; grows by one at every failover."
    )
    lag_bytes: int | None = Field(
        default=None,
        description="Largest replication lag, rounded up to a power of two MiB; 0 below 1 MiB.",
    )
    replicas: str | None = Field(default=None, description="Streaming of wanted replicas.")
    synchronous: str | None = Field(
        default=None, description="Members that confirm a write before it is acknowledged."
    )


class TopicRow(StatusModel):
    """One Kafka topic."""

    name: str = Field(description="The topic.")
    partitions: int | None = Field(default=None, description="Number of partitions.")
    replication_factor: int | None = Field(default=None, description="Copies of each partition.")
    min_insync_replicas: int | None = Field(
        default=None, description="Copies that must hold a record before it is acknowledged."
    )
    retention_hours: int | None = Field(default=None, description="Retention in hours.")
    under_replicated: int | None = Field(
        default=None, description="Partitions with a copy missing."
    )


class CacheNodeRow(StatusModel):
    """One Redis node."""

    pod: str = Field(description="The pod.")
    zone: str | None = Field(default=None, description="Its zone.")
    role: str | None = Field(default=None, description="primary or replica.")
    slots: str | None = Field(default=None, description="Slots it serves, e.g. 0-5460.")
    link_state: str | None = Field(default=None, description="State of the replication link.")


class ScoreboardStatus(StatusModel):
    """Status of a Scoreboard."""

    observed_generation: int | None = Field(
        default=None, description="Newest generation a pass has worked on."
    )
    conditions: list[Condition] = Field(
        default_factory=list,
        description="Ready, Reconciling and Stalled (only while true), one per component.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )
    summary: dict[str, Any] | None = Field(
        default=None,
        description="Counts for printer columns.",
        json_schema_extra={
            "type": "object",
            "properties": {
                "score": {"type": "string", "description": "Ready of wanted score pods."},
                "shards": {"type": "string", "description": "Shards with a primary, of all."},
                "zones": {"type": "string", "description": "Zones in full working order, of all."},
            },
            "additionalProperties": None,
        },
    )
    zones: list[ZoneRow] = Field(default_factory=list, description="One row per zone.")
    shards: list[ShardRow] = Field(default_factory=list, description="One row per shard.")
    topics: list[TopicRow] = Field(default_factory=list, description="One row per topic.")
    cache_nodes: list[CacheNodeRow] = Field(
        default_factory=list, description="One row per Redis node."
    )
    endpoints: dict[str, str] = Field(
        default_factory=dict, description="Where the system is reached, by name."
    )
    images: dict[str, str] = Field(default_factory=dict, description="Images in use, by component.")
