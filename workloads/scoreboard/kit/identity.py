"""Where an identity lives: the bucket of a user and of a claimed name (pure).

A bucket is a number in [0, 960). The shard of a bucket is read from the shard map
(`kit.shards`) and never computed. The SQL twin of `bucket_of` is the function
`bucket_of(uuid)` of the schema; both must give the same number for every id.
"""

import hashlib
from typing import Final, Literal
from uuid import UUID

BUCKETS: Final = 960
"""Number of buckets; has every shard count the Scoreboard accepts as a divisor."""

ClaimKind = Literal["username", "email"]


def _bucket(material: bytes) -> int:
    # 63 bits, because PostgreSQL's bigint is signed and the SQL twin masks the sign away.
    first = int.from_bytes(hashlib.sha256(material).digest()[:8], "big")
    return (first & 0x7FFF_FFFF_FFFF_FFFF) % BUCKETS


def bucket_of(user_id: UUID) -> int:
    """Return the bucket of a user, in [0, 960); stable for all time."""
    return _bucket(user_id.bytes)


def claim_value(text: str) -> str:
    """Return the form in which a username or e-mail address is unique: lower case."""
    return text.lower()


def bucket_of_claim(kind: ClaimKind, value: str) -> int:
    """Return the bucket of an identity claim; `value` may be in any case."""
    return _bucket(f"{kind}:".encode() + claim_value(value).encode())
