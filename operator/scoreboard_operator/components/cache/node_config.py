"""What every cache node reads at start: redis.conf, the live settings and the ACL rules.

The ConfigMap holds no secret and nothing of a single pod: the image's entrypoint adds the host
name, the replication password and the password hashes (see ``workloads/images/redis``).
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from scoreboard_operator.components.base import Board, UserError
from scoreboard_operator.components.cache.layout import PORT

NODE_TIMEOUT_MS = 5000
"""Silence after which nodes call a peer failed. A vote takes one to two seconds more."""

KEY_PREFIX = "sb:"

SERVICE_USERS = ("score", "user", "notification")

_SUFFIXES = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10) ** 3,
    "M": Decimal(10) ** 6,
    "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12,
    "Ki": Decimal(2) ** 10,
    "Mi": Decimal(2) ** 20,
    "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40,
}

# Commands of the services: data, scripts and transactions on their keys, and just as much of
# CLUSTER, COMMAND and CLIENT as a cluster client needs to find its way. Rules apply in order.
_SERVICE_COMMANDS = (
    "-@all +@read +@write +@transaction +@pubsub +@connection"
    " -@dangerous -@admin"
    " +eval +evalsha +eval_ro +evalsha_ro +script|load +script|exists"
    " +cluster|slots +cluster|shards +cluster|nodes +cluster|myid +cluster|info"
    " +cluster|keyslot +cluster|countkeysinslot"
    " +command +client|setinfo +client|setname +client|id +readonly +readwrite +asking"
)


def quantity_bytes(quantity: str) -> int:
    """Bytes of a Kubernetes quantity; the API model has checked its form."""
    number = quantity.rstrip("mkKMGTi")
    return int(Decimal(number) * _SUFFIXES[quantity[len(number) :]])


def memory_request(limit: str) -> str:
    """An eighth of a memory limit, in Mi: a cache grows into its limit, it does not start there."""
    return f"{max(quantity_bytes(limit) // 8 // 2**20, 16)}Mi"


def check_memory(board: Board) -> None:
    """Refuse a maxmemory that leaves no room for Redis itself; raises :class:`UserError`."""
    cache = board.spec.cache
    used, limit = quantity_bytes(cache.max_memory), quantity_bytes(cache.resources.memory)
    if used < 2**20:
        raise UserError(
            "CacheMemoryTooSmall", f"spec.cache.maxMemory is {cache.max_memory}: use 1Mi or more"
        )
    if used * 10 > limit * 9:
        raise UserError(
            "CacheMemoryTooSmall",
            f"spec.cache.resources.memory ({cache.resources.memory}) must exceed"
            f" spec.cache.maxMemory ({cache.max_memory}) by at least a tenth of itself:"
            " Redis needs room for connections and replication",
        )


def live_settings(board: Board) -> Mapping[str, str]:
    """Settings changed while nodes run (CONFIG SET); they restart nothing."""
    return {
        "maxmemory": str(quantity_bytes(board.spec.cache.max_memory)),
        # Only keys with a lifetime may go: sessions and locks must not be evicted.
        "maxmemory-policy": "volatile-lru",
    }


def live_conf(board: Board) -> str:
    """The live settings as a configuration file, for nodes that start later."""
    return "".join(f"{name} {value}\n" for name, value in live_settings(board).items())


def redis_conf() -> str:
    """Settings all nodes share; a change restarts them zone by zone."""
    return f"""\
port 0
tls-port {PORT}
tls-cluster yes
tls-replication yes
tls-cert-file /etc/scoreboard/tls/tls.crt
tls-key-file /etc/scoreboard/tls/tls.key
tls-ca-cert-file /etc/scoreboard/tls/ca.crt
# Clients prove themselves by ACL password; the cluster bus asks for a certificate regardless.
tls-auth-clients optional
protected-mode no
dir /data
# Nothing is kept on disk but the node's identity: all data can be rebuilt.
save ""
appendonly no
cluster-enabled yes
cluster-config-file /data/nodes.conf
cluster-node-timeout {NODE_TIMEOUT_MS}
cluster-preferred-endpoint-type hostname
cluster-require-full-coverage no
# The operator decides who copies whom; a replica must stay in its zone's place.
cluster-allow-replica-migration no
# A copy that is some seconds old beats an empty range: everything here can be rebuilt.
cluster-replica-validity-factor 0
repl-diskless-sync yes
repl-diskless-sync-delay 0
repl-diskless-load on-empty-db
repl-backlog-size 4mb
repl-ping-replica-period 2
repl-timeout 15
lazyfree-lazy-eviction yes
lazyfree-lazy-user-flush yes
replica-lazy-flush yes
tcp-keepalive 60
timeout 0
loglevel notice
"""


def acl_rules() -> str:
    """The ACL file with ``#{{key}}`` where the entrypoint puts the hash of a password.

    The default user is off, so nobody gets in without a name. ``replication`` is what replicas
    log in with; ``operator`` may do everything and is used by the operator alone.
    """
    lines = [
        "user default reset off",
        "user operator reset on #{operator-password} ~* &* +@all",
        "user replication reset on #{replication-password} +psync +replconf +ping",
    ]
    lines += [
        f"user {name} reset on #{{{name}-password}} ~{KEY_PREFIX}* &{KEY_PREFIX}* "
        f"{_SERVICE_COMMANDS}"
        for name in SERVICE_USERS
    ]
    return "\n".join(lines) + "\n"
