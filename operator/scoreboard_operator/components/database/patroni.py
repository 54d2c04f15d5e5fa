"""Patroni's and PostgreSQL's settings, computed from the spec (pure).

Two parts. The *dynamic* part lives in Patroni's own ConfigMap, holds for the whole shard and is
applied live by a step. The *local* part is read from a mounted file by each member, which adds its
own names and passwords (workloads/images/postgres/settings.py). Durations are seconds.
"""

from __future__ import annotations

import json
import re
from typing import Any

from scoreboard_operator.components.base import Board
from scoreboard_operator.components.database import names

TTL = 20
"""Life of the leader record; Patroni accepts no less. It bounds the outage when a zone dies."""

LOOP_WAIT = 5
RETRY_TIMEOUT = 7
"""Patience with the API server. As long as LOOP_WAIT + 2 * RETRY_TIMEOUT fits into TTL, and no
shorter: with 5, one slow answer on an overloaded host made a healthy primary step down (seen)."""

_DATA = "/data/pgdata"
_SOCKETS = "/run/pg"
_TLS = "/etc/scoreboard/tls"
_ROLES = "/opt/venv/bin/python /opt/scoreboard/roles.py"

_MIB = 1024 * 1024
_UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip


def mebibytes(quantity: str) -> int:
    """A Kubernetes quantity of bytes in MiB, rounded down."""
    match = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", quantity)
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"not a quantity: {quantity}")
    return int(float(match[1]) * _UNITS[match[2]] / _MIB)


def dynamic(board: Board) -> dict[str, Any]:
    """Settings that hold for a whole shard."""
    replicated = len(board.zones) > 1
    config: dict[str, Any] = {
        "ttl": TTL,
        "loop_wait": LOOP_WAIT,
        "retry_timeout": RETRY_TIMEOUT,
        # A replica further behind than this never becomes primary; with quorum commit the
        # candidates hold every acknowledged write anyway.
        "maximum_lag_on_failover": 16 * _MIB,
        # The primary stays up while the API server is away, as long as all members agree.
        "failsafe_mode": True,
        "check_timeline": True,
        "postgresql": {
            "use_pg_rewind": True,
            "use_slots": True,
            "remove_data_directory_on_rewind_failure": True,
            "remove_data_directory_on_diverged_timelines": True,
            "parameters": parameters(board),
        },
    }
    if replicated:
        # docs/decisions/0002-synchronous-commit.md: strict, so that an acknowledged write is
        # always in two zones; with both standbys gone, writes wait rather than lie.
        config |= {
            "synchronous_mode": "quorum",
            "synchronous_mode_strict": True,
            "synchronous_node_count": 1,
        }
    return config


def parameters(board: Board) -> dict[str, Any]:
    """PostgreSQL parameters, sized by the member's memory and volume."""
    database = board.spec.database
    memory = mebibytes(database.resources.memory)
    disk = mebibytes(database.storage.size)
    buffers = max(16, memory // 8)
    return {
        # memory: an eighth is shared buffers (48 MB of 384), the rest is left to connections
        # and to the page cache, which a container's limit counts too
        "shared_buffers": f"{buffers}MB",
        "effective_cache_size": f"{max(64, memory // 2)}MB",
        "work_mem": f"{max(1, memory // 192)}MB",
        "maintenance_work_mem": f"{max(16, memory // 16)}MB",
        "wal_buffers": "4MB",
        "max_connections": database.max_connections,
        "superuser_reserved_connections": 5,
        "max_worker_processes": 4,
        "max_parallel_workers": 2,
        "max_parallel_workers_per_gather": 0,
        "autovacuum_max_workers": 2,
        "autovacuum_naptime": "30s",
        "jit": "off",
        "huge_pages": "off",
        # write-ahead log: never more than about half of the volume, whatever a slot wants
        "wal_level": "replica",
        "wal_log_hints": "on",
        "wal_compression": "on",
        "min_wal_size": "32MB",
        "max_wal_size": f"{max(64, min(disk // 8, 4096))}MB",
        "wal_keep_size": f"{max(32, min(disk // 32, 1024))}MB",
        "max_slot_wal_keep_size": f"{max(128, disk // 4)}MB",
        "checkpoint_timeout": "15min",
        "max_wal_senders": 8,
        "max_replication_slots": 8,
        # a peer whose zone went dark is noticed in seconds, not in TCP's quarter of an hour
        "wal_sender_timeout": "6s",
        "wal_receiver_timeout": "6s",
        "wal_retrieve_retry_interval": "1s",
        "tcp_user_timeout": "8s",
        "tcp_keepalives_idle": 5,
        "tcp_keepalives_interval": 2,
        "tcp_keepalives_count": 2,
        "idle_in_transaction_session_timeout": "60s",
        "client_connection_check_interval": "5s",
        "password_encryption": "scram-sha-256",
        "timezone": "UTC",
        "log_timezone": "UTC",
        # statements can hold players' data: none is logged, slow ones by their duration only
        "log_statement": "none",
        "log_min_duration_statement": -1,
        "log_lock_waits": "on",
        "log_connections": "off",
        "log_checkpoints": "off",
        "log_line_prefix": "%m [%p] %q%u@%d ",
        "track_io_timing": "on",
    }


def local(board: Board) -> dict[str, Any]:
    """What all members share of the file Patroni reads; each adds its names and passwords."""
    tls = {"certfile": f"{_TLS}/tls.crt", "keyfile": f"{_TLS}/tls.key"}
    return {
        "log": {"level": "INFO", "format": "patroni: %(levelname)s %(message)s"},
        "restapi": {"listen": f"0.0.0.0:{names.PATRONI_PORT}", "cafile": f"{_TLS}/ca.crt", **tls},
        "ctl": {"cacert": f"{_TLS}/ca.crt", **tls},
        "kubernetes": {
            "namespace": board.namespace,
            "labels": names.patroni_labels(board),
            "scope_label": names.SCOPE_LABEL,
            "role_label": names.ROLE_LABEL,
            "leader_label_value": "primary",
            "follower_label_value": "replica",
            "standby_leader_label_value": "primary",
            "use_endpoints": False,
        },
        "bootstrap": {
            "dcs": dynamic(board),
            "initdb": [
                {"encoding": "UTF8"},
                # The built-in provider sorts the same on every libc, so that no upgrade of the
                # base image can corrupt an index.
                {"locale": "C.UTF-8"},
                {"locale-provider": "builtin"},
                {"builtin-locale": "C.UTF-8"},
                "data-checksums",
            ],
            "post_init": _ROLES,
        },
        "postgresql": {
            "listen": f"*:{names.POSTGRES_PORT}",
            "data_dir": _DATA,
            "bin_dir": "/usr/lib/postgresql/17/bin",
            "pgpass": f"{_SOCKETS}/pgpass",
            "use_unix_socket": True,
            "use_unix_socket_repl": True,
            "basebackup": [{"checkpoint": "fast"}],
            "callbacks": {"on_reload": _ROLES},
            "parameters": {
                "unix_socket_directories": _SOCKETS,
                "ssl": "on",
                "ssl_cert_file": f"{_TLS}/tls.crt",
                "ssl_key_file": f"{_TLS}/tls.key",
                "ssl_ca_file": f"{_TLS}/ca.crt",
                "ssl_min_protocol_version": "TLSv1.2",
            },
            "pg_hba": access_rules(),
        },
        "watchdog": {"mode": "off"},
    }


def access_rules() -> list[str]:
    """Who may connect: TLS and a password for everyone; the superuser never over the network."""
    services = (
        "scoreboard_owner,score_service,user_service,notification_service,analytics,"
        "scoreboard_operator"
    )
    return [
        "local all postgres peer",
        "local replication replicator scram-sha-256",
        "hostssl replication replicator all scram-sha-256",
        "hostssl postgres rewind_user all scram-sha-256",
        f"hostssl {names.DATABASE} {services} all scram-sha-256",
        "hostssl postgres scoreboard_operator all scram-sha-256",
        "host all all all reject",
    ]


def as_text(document: dict[str, Any]) -> str:
    """Canonical JSON, so that equal settings are equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"))
