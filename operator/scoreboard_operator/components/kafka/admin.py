"""The confluent-kafka admin client as plain blocking calls, and one kept client per board.

Blocking, since the library's calls are; callers run them in threads. It is the only module that
knows the library, and every failure of Kafka leaves it as :class:`KafkaUnavailable`.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import confluent_kafka.admin
from confluent_kafka import KafkaError, KafkaException

from scoreboard_operator.components.kafka.access import Acl, Credential
from scoreboard_operator.components.kafka.topics import Configure, Create, Grow, TopicState

T = TypeVar("T")

library: Any = confluent_kafka.admin
"""Untyped on purpose: its annotations are incomplete, and wrong in places."""

READ_SECONDS = 3.0
"""For all questions of one observation together: a pass waits for them."""
WRITE_SECONDS = 10.0
IDLE_SECONDS = 60.0
"""A client nobody asked for this long is closed: its board is gone, or its brokers are."""


class KafkaUnavailable(ConnectionError):  # noqa: N818  a state of the world, not a bug
    """Kafka did not answer, or refused; the message says which."""


@dataclass(frozen=True)
class Login:
    """How to connect: by password to the CLIENT listener, or by certificate to REPLICATION."""

    bootstrap: str
    ca: bytes
    password: bytes = field(default=b"", repr=False)
    certificate: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    def fingerprint(self) -> str:
        """Changes whenever a client made with the old values would no longer do."""
        parts = (self.bootstrap.encode(), self.ca, self.password, self.certificate, self.key)
        return hashlib.sha256(b"\0".join(parts)).hexdigest()

    def settings(self) -> dict[str, Any]:
        """The same as settings of librdkafka."""
        chosen: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap,
            "ssl.ca.pem": self.ca.decode(),
            "client.id": "scoreboard-operator",
            # Brokers that are down are reported by conditions; the library would log each attempt.
            "log_level": 0,
            "log.connection.close": False,
            "allow.auto.create.topics": False,
            "socket.timeout.ms": 10_000,
            "socket.connection.setup.timeout.ms": 2_000,
            "reconnect.backoff.ms": 100,
            "reconnect.backoff.max.ms": 2_000,
        }
        if self.password:
            chosen |= {
                "security.protocol": "SASL_SSL",
                "sasl.mechanism": "SCRAM-SHA-512",
                "sasl.username": "admin",
                "sasl.password": self.password.decode(),
            }
        else:
            chosen |= {
                "security.protocol": "SSL",
                "ssl.certificate.pem": self.certificate.decode(),
                "ssl.key.pem": self.key.decode(),
            }
        return chosen


@dataclass(frozen=True)
class Answer:
    """What one round of questions learned; see ``observe.Observed`` for the fields."""

    brokers: Mapping[int, str]
    topics: Mapping[str, TopicState]
    acls: frozenset[Acl]
    users: Mapping[str, int]


class Client:
    """One connection to one Kafka cluster."""

    def __init__(self, login: Login) -> None:
        self._refused = False
        self._admin = library.AdminClient({**login.settings(), "error_cb": self._on_error})

    def _on_error(self, error: KafkaError) -> None:
        if error.code() == KafkaError._AUTHENTICATION:
            self._refused = True

    def refused(self) -> bool:
        """Whether a broker has refused the login since the last call."""
        self._admin.poll(0)
        refused, self._refused = self._refused, False
        return refused

    def read(self, configured: Iterable[str]) -> Answer:
        """Ask for everything at once; ``configured`` are the topics whose overrides matter.

        Raises:
            KafkaUnavailable: no answer within :data:`READ_SECONDS`.
        """
        deadline = time.monotonic() + READ_SECONDS
        with _translated():
            cluster = self._admin.describe_cluster(request_timeout=READ_SECONDS)
            users = self._admin.describe_user_scram_credentials(request_timeout=READ_SECONDS)
            acls = self._admin.describe_acls(_ANY_ACL, request_timeout=READ_SECONDS)
            metadata = self._admin.list_topics(timeout=_left(deadline))
            present = [name for name in configured if name in metadata.topics]
            configs = self._configs(present)
            brokers = {node.id: node.rack or "" for node in cluster.result(_left(deadline)).nodes}
            overrides = {
                name: _overrides(config.result(_left(deadline))) for name, config in configs.items()
            }
            return Answer(
                brokers=brokers,
                topics={
                    name: _topic_state(topic, overrides.get(name))
                    for name, topic in metadata.topics.items()
                },
                acls=frozenset(
                    acl
                    for binding in acls.result(_left(deadline))
                    if (acl := _acl(binding)) is not None
                ),
                users=_iterations(users.result(_left(deadline))),
            )

    def _configs(self, names: list[str]) -> dict[str, Future[Any]]:
        if not names:
            return {}
        resources = [
            library.ConfigResource(library.ConfigResource.Type.TOPIC, name) for name in names
        ]
        asked = self._admin.describe_configs(resources, request_timeout=READ_SECONDS)
        return {resource.name: future for resource, future in asked.items()}

    def create(self, topics: Iterable[Create]) -> None:
        """Make topics; one that exists meanwhile is as good.

        Raises:
            KafkaUnavailable: refused, or no answer.
        """
        wanted = [
            library.NewTopic(
                change.topic.name,
                num_partitions=change.topic.partitions,
                replication_factor=change.topic.replication_factor,
                config=dict(change.topic.config),
            )
            for change in topics
        ]
        with _translated():
            asked = self._admin.create_topics(wanted, request_timeout=WRITE_SECONDS)
            _all_done(asked.values(), harmless=KafkaError.TOPIC_ALREADY_EXISTS)

    def grow(self, topics: Iterable[Grow]) -> None:
        """Add partitions; a topic that grew meanwhile is as good (Kafka never shrinks one).

        Raises:
            KafkaUnavailable: refused, or no answer.
        """
        wanted = [library.NewPartitions(change.name, change.partitions) for change in topics]
        with _translated():
            asked = self._admin.create_partitions(wanted, request_timeout=WRITE_SECONDS)
            _all_done(asked.values(), harmless=KafkaError.INVALID_PARTITIONS)

    def configure(self, topics: Iterable[Configure]) -> None:
        """Change the named overrides and leave all others as they are.

        Raises:
            KafkaUnavailable: refused, or no answer.
        """
        wanted = [
            library.ConfigResource(
                library.ConfigResource.Type.TOPIC,
                change.name,
                incremental_configs=[
                    *(
                        library.ConfigEntry(
                            key, value, incremental_operation=library.AlterConfigOpType.SET
                        )
                        for key, value in change.put.items()
                    ),
                    *(
                        library.ConfigEntry(
                            key, None, incremental_operation=library.AlterConfigOpType.DELETE
                        )
                        for key in change.reset
                    ),
                ],
            )
            for change in topics
        ]
        with _translated():
            asked = self._admin.incremental_alter_configs(wanted, request_timeout=WRITE_SECONDS)
            _all_done(asked.values())

    def put_users(self, credentials: Iterable[Credential]) -> None:
        """Set passwords; connections that are open stay open.

        Raises:
            KafkaUnavailable: refused, or no answer.
        """
        wanted = [
            library.UserScramCredentialUpsertion(
                each.user,
                library.ScramCredentialInfo(library.ScramMechanism.SCRAM_SHA_512, each.iterations),
                each.password,
            )
            for each in credentials
        ]
        with _translated():
            asked = self._admin.alter_user_scram_credentials(wanted, request_timeout=WRITE_SECONDS)
            _all_done(asked.values())

    def put_acls(self, add: Iterable[Acl], remove: Iterable[Acl]) -> None:
        """Add permissions, then remove others.

        Raises:
            KafkaUnavailable: refused, or no answer.
        """
        with _translated():
            if bindings := [_binding(acl, library.AclBinding) for acl in add]:
                asked = self._admin.create_acls(bindings, request_timeout=WRITE_SECONDS)
                _all_done(asked.values())
            if filters := [_binding(acl, library.AclBindingFilter) for acl in remove]:
                asked = self._admin.delete_acls(filters, request_timeout=WRITE_SECONDS)
                _all_done(asked.values())


class Clients:
    """One kept client per board, replaced when its login changes, closed when idle."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], tuple[str, Client, float]] = {}
        self._sweeper: asyncio.TimerHandle | None = None

    def get(self, board: tuple[str, str], login: Login) -> Client:
        """The board's client for this login. Call it on the event loop."""
        slot = (*board, "password" if login.password else "certificate")
        fingerprint = login.fingerprint()
        kept = self._kept.get(slot)
        client = kept[1] if kept and kept[0] == fingerprint else Client(login)
        self._kept[slot] = (fingerprint, client, time.monotonic())
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)
        return client

    def drop(self, board: tuple[str, str]) -> None:
        """Close a board's clients."""
        for slot in [slot for slot in self._kept if slot[:2] == board]:
            del self._kept[slot]

    def _sweep(self) -> None:
        self._sweeper = None
        oldest = time.monotonic() - IDLE_SECONDS
        for slot in [slot for slot, kept in self._kept.items() if kept[2] < oldest]:
            # The library has no close(): dropping the last reference ends its threads.
            del self._kept[slot]
        if self._kept:
            self._sweeper = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._sweep)


_ANY_ACL = library.AclBindingFilter(
    library.ResourceType.ANY,
    None,
    library.ResourcePatternType.ANY,
    None,
    None,
    library.AclOperation.ANY,
    library.AclPermissionType.ANY,
)


class _translated:  # noqa: N801  reads as a clause
    """Turns the library's exceptions into :class:`KafkaUnavailable`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, KafkaException):
            cause = error.args[0]
            text = cause.str() if isinstance(cause, KafkaError) else str(cause)
            raise KafkaUnavailable(f"Kafka: {text}") from error
        if isinstance(error, TimeoutError):
            raise KafkaUnavailable("Kafka: no answer in time") from error


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())


def _all_done(futures: Iterable[Future[Any]], harmless: int | None = None) -> None:
    """Wait for all; one that failed does not keep the others from being waited for."""
    failure: KafkaException | None = None
    for future in futures:
        try:
            future.result(WRITE_SECONDS)
        except KafkaException as error:
            if error.args[0].code() != harmless:
                failure = error
    if failure is not None:
        raise failure


def _topic_state(topic: Any, overrides: Mapping[str, str] | None) -> TopicState:
    partitions = topic.partitions.values()
    return TopicState(
        name=topic.topic,
        partitions=len(topic.partitions),
        replication_factor=min((len(each.replicas) for each in partitions), default=0),
        config=overrides,
        under_replicated=tuple(
            sorted(each.id for each in partitions if len(each.isrs) < len(each.replicas))
        ),
    )


def _overrides(entries: Mapping[str, Any]) -> dict[str, str]:
    return {
        name: entry.value
        for name, entry in entries.items()
        if library.ConfigSource(entry.source) is library.ConfigSource.DYNAMIC_TOPIC_CONFIG
    }


def _iterations(users: Mapping[str, Any]) -> dict[str, int]:
    return {
        name: info.iterations
        for name, described in users.items()
        for info in described.scram_credential_infos
        if info.mechanism == library.ScramMechanism.SCRAM_SHA_512
    }


def _acl(binding: Any) -> Acl | None:
    """One permission; None for principals that are no users."""
    kind, _, user = binding.principal.partition(":")
    if kind != "User":
        return None
    return Acl(
        user=user,
        resource=binding.restype.name.lower(),
        name=binding.name,
        operation=binding.operation.name.lower(),
        prefixed=binding.resource_pattern_type is library.ResourcePatternType.PREFIXED,
        allow=binding.permission_type is library.AclPermissionType.ALLOW,
        host=binding.host,
    )


def _binding(acl: Acl, make: Callable[..., T]) -> T:
    return make(
        library.ResourceType[acl.resource.upper()],
        acl.name,
        library.ResourcePatternType.PREFIXED
        if acl.prefixed
        else library.ResourcePatternType.LITERAL,
        f"User:{acl.user}",
        acl.host,
        library.AclOperation[acl.operation.upper()],
        library.AclPermissionType.ALLOW if acl.allow else library.AclPermissionType.DENY,
    )
