"""server.properties: one text for all brokers of a board. (Pure.)

What differs per broker comes from variables of its pod (``${env:…}``); certificates are read from
the mounted Secret (``${dir:…}``).
"""

from __future__ import annotations

from scoreboard_operator.components.base import Board
from scoreboard_operator.components.kafka.access import SUPER_USERS
from scoreboard_operator.components.kafka.topics import replication

CLIENT_PORT = 9092
CONTROLLER_PORT = 9093
REPLICATION_PORT = 9094

CONFIG_DIR = "/etc/scoreboard/kafka"
CREDENTIALS_DIR = "/etc/scoreboard/credentials"
TLS_DIR = "/etc/scoreboard/tls"
DATA_DIR = "/var/lib/kafka"
"""Mount point of the data volume. Logs live in a folder inside it: Kafka refuses a log directory
that holds anything foreign, such as the ``lost+found`` of a fresh file system."""


def broker_host(board: Board, zone: str) -> str:
    """DNS name of one broker."""
    return board.host(f"{board.name}-kafka-{zone}")


def server_properties(board: Board) -> str:
    """The configuration file; equal boards give equal text."""
    sections = (
        ("Who this is", _identity(board)),
        ("Where it listens: clients by password, brokers by certificate", _listeners()),
        ("TLS", _tls()),
        ("Who may do what", _authorization()),
        ("How many copies", _replication(board)),
        ("How fast a lost broker is noticed", _failure()),
        ("How much it takes", _size()),
    )
    lines = []
    for title, values in sections:
        lines.append(f"# {title}")
        lines += [f"{key}={value}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _identity(board: Board) -> dict[str, str]:
    # A static list of voters: a broker that lost its volume comes back by the plain format.
    voters = ",".join(
        f"{index}@{broker_host(board, zone)}:{CONTROLLER_PORT}"
        for index, zone in enumerate(board.zones)
    )
    return {
        "config.providers": "env,dir",
        "config.providers.env.class": (
            "org.apache.kafka.common.config.provider.EnvVarConfigProvider"
        ),
        "config.providers.env.param.allowlist.pattern": "NODE_ID|ZONE|POD_HOST",
        "config.providers.dir.class": (
            "org.apache.kafka.common.config.provider.DirectoryConfigProvider"
        ),
        "config.providers.dir.param.allowed.paths": TLS_DIR,
        "process.roles": "broker,controller",
        "node.id": "${env:NODE_ID}",
        "broker.rack": "${env:ZONE}",
        "controller.quorum.voters": voters,
        "log.dirs": f"{DATA_DIR}/data",
    }


def _listeners() -> dict[str, str]:
    jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    return {
        "listeners": (
            f"CLIENT://:{CLIENT_PORT},CONTROLLER://:{CONTROLLER_PORT},"
            f"REPLICATION://:{REPLICATION_PORT}"
        ),
        "advertised.listeners": (
            f"CLIENT://${{env:POD_HOST}}:{CLIENT_PORT},"
            f"REPLICATION://${{env:POD_HOST}}:{REPLICATION_PORT}"
        ),
        "listener.security.protocol.map": "CLIENT:SASL_SSL,CONTROLLER:SSL,REPLICATION:SSL",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "REPLICATION",
        "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.client.scram-sha-512.sasl.jaas.config": jaas,
        "listener.name.controller.ssl.client.auth": "required",
        "listener.name.replication.ssl.client.auth": "required",
    }


def _tls() -> dict[str, str]:
    return {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.certificate.chain": f"${{dir:{TLS_DIR}:tls.crt}}",
        "ssl.keystore.key": f"${{dir:{TLS_DIR}:tls.key}}",
        "ssl.truststore.type": "PEM",
        "ssl.truststore.certificates": f"${{dir:{TLS_DIR}:ca.crt}}",
        "ssl.endpoint.identification.algorithm": "https",
        # The principal of a certificate is its common name.
        "ssl.principal.mapping.rules": "RULE:^.*CN=([^,]+).*$/$1/,DEFAULT",
    }


def _authorization() -> dict[str, str]:
    return {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": ";".join(f"User:{name}" for name in SUPER_USERS),
    }


def _replication(board: Board) -> dict[str, str]:
    copies, in_sync = (str(number) for number in replication(board))
    return {
        "auto.create.topics.enable": "false",
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "offsets.topic.num.partitions": "3",
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
        "transaction.state.log.num.partitions": "3",
        "share.coordinator.state.topic.replication.factor": copies,
        "share.coordinator.state.topic.min.isr": in_sync,
        "share.coordinator.state.topic.num.partitions": "1",
    }


def _failure() -> dict[str, str]:
    return {
        # Producers stall for about this long after a broker died; the default is 9 s. With 3 s a
        # busy machine (2 cores, a whole stack that starts) fenced brokers that were only slow:
        # their heartbeats may take no longer than half of it. The same holds for the controller.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        "controller.quorum.fetch.timeout.ms": "4000",
        # Leaders go home to their zones soon after a rolling restart.
        "leader.imbalance.check.interval.seconds": "60",
        "group.initial.rebalance.delay.ms": "0",
        # The controller marks an idle metadata log this often, with a synced write on each node.
        "metadata.max.idle.interval.ms": "2000",
    }


def _size() -> dict[str, str]:
    return {
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "4",
        # The default takes 128 MiB of heap.
        "log.cleaner.dedupe.buffer.size": "4194304",
    }
