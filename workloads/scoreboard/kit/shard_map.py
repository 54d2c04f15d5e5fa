"""The shard map: which shard holds which bucket, and where a shard's members are (pure).

The operator owns the document and writes it to the ConfigMap NAME-shard-map; services only read
it. Looking a shard up in this map is the one way to find a user's data.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from scoreboard.kit.identity import BUCKETS, bucket_of

POSTGRES_PORT: Final = 5432
Address: TypeAlias = tuple[str, int]
"""Host name and TCP port."""


class _MemberDocument(msgspec.Struct):
    zone: str
    host: str
    port: int = POSTGRES_PORT


class _ShardDocument(msgspec.Struct):
    index: int
    primary: str
    database: str = "scoreboard"
    replicas: str = ""
    members: list[_MemberDocument] = []


class _MapDocument(msgspec.Struct):
    version: int
    buckets: int
    assignment: list[int]
    shards: list[_ShardDocument]


@dataclass(frozen=True)
class Member:
    """One PostgreSQL member of a shard: its zone and stable address."""

    zone: str
    address: Address


@dataclass(frozen=True)
class ShardEntry:
    """Where one shard is reached."""

    index: int
    database: str
    primary: Address
    """The Service that follows the primary; may lag behind a failover by seconds."""
    replicas: Address | None
    members: tuple[Member, ...]
    """Every member, whichever leads; who leads is asked of them (see `kit.shards`)."""


@dataclass(frozen=True)
class ShardMap:
    """One version of the map. Build it with `ShardMap.parse`."""

    version: int
    assignment: tuple[int, ...]
    shards: tuple[ShardEntry, ...]

    @classmethod
    def parse(cls, raw: bytes) -> "ShardMap":
        """Parse shard-map.json.

        Raises ValueError when the document is malformed, is for another number of buckets, or
        assigns a bucket to a shard it does not describe.
        """
        try:
            document = msgspec.json.decode(raw, type=_MapDocument)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from error
        if document.buckets != BUCKETS or len(document.assignment) != BUCKETS:
            raise ValueError(f"the shard map must assign exactly {BUCKETS} buckets")
        entries = tuple(
            ShardEntry(
                shard.index,
                shard.database,
                parse_address(shard.primary),
                parse_address(shard.replicas) if shard.replicas else None,
                tuple(Member(m.zone, (m.host, m.port)) for m in shard.members),
            )
            for shard in sorted(document.shards, key=lambda shard: shard.index)
        )
        known = {entry.index for entry in entries}
        if len(known) != len(entries):
            raise ValueError("two shards have the same index")
        unknown = set(document.assignment) - known
        if unknown:
            raise ValueError(f"buckets are assigned to unknown shards {sorted(unknown)}")
        return cls(document.version, tuple(document.assignment), entries)

    def shard_of_bucket(self, bucket: int) -> int:
        """Return the shard index of a bucket in [0, 960)."""
        return self.assignment[bucket]

    def shard_of(self, user_id: UUID) -> int:
        """Return the shard index of a user."""
        return self.assignment[bucket_of(user_id)]


def parse_address(text: str) -> Address:
    """Parse host:port, the port optional (5432). Raises ValueError on anything else."""
    host, separator, port = text.rpartition(":")
    if not separator:
        host, port = text, str(POSTGRES_PORT)
    if not host or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is not host:port")
    return host.strip("[]"), int(port)
