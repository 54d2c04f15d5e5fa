"""Who may connect, and who may do what: SCRAM users and ACLs, wanted and actual. (Pure.)"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scoreboard_operator.api.data import TOPICS
from scoreboard_operator.components.base import Board, Snapshot

ADMIN = "admin"
SERVICES = ("score", "user", "notification")
USERS = (ADMIN, *SERVICES)

SUPER_USERS = ("kafka", "operator", ADMIN)
"""Principals the authorizer never asks about: the common names of the brokers' and the operator's
certificates, and the SCRAM user the operator connects as."""

FEWEST_ITERATIONS = 4096
"""Kafka refuses fewer; RFC 7677 asks for no fewer."""
MOST_ITERATIONS = 16384
"""Kafka refuses more."""


@dataclass(frozen=True, order=True)
class Acl:
    """One permission to a principal from any host; ``prefixed`` makes ``name`` a prefix."""

    user: str
    resource: str
    name: str
    operation: str
    prefixed: bool = False
    allow: bool = True
    host: str = "*"

    def __str__(self) -> str:
        star = "*" if self.prefixed else ""
        return f"{self.user} {self.operation} {self.resource} {self.name}{star}"


_READS = {
    "score": ("score_updates", "user_actions"),
    "user": (),
    "notification": TOPICS,
}
_WRITES = {
    # Each service's relay publishes its own events only, so neither can forge the other's.
    "score": ("score_updates", "system_events"),
    "user": ("user_actions", "system_events"),
    "notification": ("system_events",),
}


def wanted_acls() -> frozenset[Acl]:
    """Permissions of the services. READ and WRITE carry DESCRIBE; WRITE carries idempotence."""
    found = set()
    for user in SERVICES:
        found |= {Acl(user, "topic", topic, "read") for topic in _READS[user]}
        found |= {Acl(user, "topic", topic, "write") for topic in _WRITES[user]}
        found.add(Acl(user, "group", f"{user}-", "read", prefixed=True))
    return frozenset(found)


def acl_changes(actual: Iterable[Acl]) -> tuple[frozenset[Acl], frozenset[Acl]]:
    """Permissions to add and to remove. Those of principals that are not ours stay."""
    wanted, present = wanted_acls(), frozenset(actual)
    ours = frozenset(acl for acl in present if acl.user in USERS)
    return wanted - present, ours - wanted


@dataclass(frozen=True)
class Credential:
    """A SCRAM user's password and the number of iterations that marks it."""

    user: str
    password: bytes
    iterations: int

    def __repr__(self) -> str:
        return f"Credential({self.user!r})"  # never the password: this may end in a log


def credentials_secret(board: Board) -> str:
    """Name of the Secret with all passwords."""
    return f"{board.name}-kafka-credentials"


def wanted_users(board: Board, snapshot: Snapshot) -> dict[str, Credential]:
    """Credentials of all users; those whose password does not exist yet are left out."""
    secret = credentials_secret(board)
    cluster = snapshot.secret_value(secret, "cluster-id") or b""
    found = {}
    for user in USERS:
        password = snapshot.secret_value(secret, f"{user}-password")
        if password:
            found[user] = Credential(user, password, iterations(user, password, cluster))
    return found


def iterations(user: str, password: bytes, salt: bytes) -> int:
    """The number of SCRAM iterations that stands for this password.

    Kafka tells of a user's credential only how many iterations it has. Taking that number from a
    hash of the password makes a changed password visible there, in the same write that changes
    it; no second record can be out of step. It gives away 13 bits of a hash of 192 random bits.
    """
    digest = hashlib.sha256(b"\0".join((salt, user.encode(), password))).digest()
    span = MOST_ITERATIONS - FEWEST_ITERATIONS
    return FEWEST_ITERATIONS + 1 + int.from_bytes(digest[:8], "big") % span


def user_changes(
    wanted: Mapping[str, Credential], actual: Mapping[str, int]
) -> tuple[Credential, ...]:
    """Credentials to write: of users that are missing or have another password's iterations."""
    return tuple(
        credential
        for user, credential in wanted.items()
        if actual.get(user) != credential.iterations
    )
