"""The Scoreboard spec: every section with its default, so that ``spec: {}`` is complete."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from scoreboard_operator.api.base import Model, Rule, described, immutable_if_set
from scoreboard_operator.api.data import Cache, Database, Kafka
from scoreboard_operator.api.serving import Gateway, Rules, Services

Zone = Annotated[
    str, Field(min_length=1, max_length=24, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
]
Image = Annotated[str, Field(min_length=1, max_length=512)]


class Images(Model):
    """Images to run instead of the ones this operator version was tested with."""

    scoreboard: Image | None = described(None, "The three services and the migrations.")
    postgres: Image | None = described(None, "PostgreSQL with Patroni.")
    kafka: Image | None = described(None, "Apache Kafka.")
    redis: Image | None = described(None, "Redis.")
    envoy: Image | None = described(None, "Envoy, the gateway.")


class ScoreboardSpec(Model):
    """A whole scoreboard system in one or three availability zones."""

    cel: ClassVar[tuple[Rule, ...]] = (
        immutable_if_set(
            "zones",
            "zones is immutable: data volumes are bound to their zones; create a new Scoreboard",
        ),
    )

    zones: list[Zone] | None = Field(
        default=None,
        description=(
            "Values of the node label topology.kubernetes.io/zone; exactly one or three. The first"
            " holds the primaries. When left out, the first three zones of the cluster's nodes,"
            " chosen once."
        ),
        max_length=3,
        json_schema_extra={
            "x-kubernetes-validations": [
                {
                    "rule": "size(self) == 1 || size(self) == 3",
                    "message": "zones must name exactly one or exactly three zones",
                },
                {
                    "rule": "self.all(z, self.exists_one(other, other == z))",
                    "message": "zones must not repeat a zone: name three different ones",
                },
            ]
        },
    )
    images: Images = described(Images, "Images to run instead of the tested ones.")
    services: Services = described(Services, "The score, user and notification services.")
    database: Database = described(Database, "Sharded, replicated PostgreSQL.")
    kafka: Kafka = described(Kafka, "The event bus.")
    cache: Cache = described(Cache, "The Redis Cluster.")
    gateway: Gateway = described(Gateway, "The entry point.")
    rules: Rules = described(Rules, "Business rules of score writes.")
    deletion_policy: Literal["Retain", "Delete"] = described(
        "Retain",
        "What happens to data volumes and keys when the Scoreboard is deleted: Retain keeps them"
        " for a Scoreboard of the same name, Delete removes them.",
    )
    paused: bool = described(
        False, "Stop changing anything; what runs keeps running, status says Paused."
    )
