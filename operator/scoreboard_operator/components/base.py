"""What a component is: four pure or narrow functions over the same few values.

A pass hands every component a :class:`Board` (what is wanted), a :class:`Snapshot` (what the API
server holds) and, for engine protocols, an :class:`Access`. Everything except ``observe`` and the
bodies of steps is pure and tested without sockets.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from scoreboard_operator.api.scoreboard import ScoreboardSpec

Object = dict[str, Any]
"""A Kubernetes object as the plain JSON-shaped dictionary the API server takes."""

ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True)
class ImageSet:
    """Resolved image references: the spec's override, else the operator's tested default."""

    scoreboard: str
    postgres: str
    kafka: str
    redis: str
    envoy: str


@dataclass(frozen=True)
class Board:
    """One Scoreboard as the pure code sees it: names, the defaulted spec, resolved zones."""

    name: str
    namespace: str
    uid: str
    generation: int
    spec: ScoreboardSpec
    zones: tuple[str, ...]
    images: ImageSet

    def host(self, service: str) -> str:
        """DNS name of a Service of this board, without the cluster domain."""
        return f"{service}.{self.namespace}.svc"


@dataclass(frozen=True)
class Snapshot:
    """The board's live objects, read from the watch cache at the start of a pass.

    ``objects`` is keyed by (kind, name) and holds what carries the board's label: our own
    objects, the pods of its workloads, its volumes, and Patroni's ConfigMaps.
    ``references`` holds Secrets the spec names (None when absent). ``other_secrets`` holds what is
    known of own Secrets that are not among the objects: deleted a moment ago, or there without our
    labels (restored from a backup), so that their values are kept.
    """

    objects: Mapping[tuple[str, str], Object] = field(default_factory=dict)
    references: Mapping[str, Object | None] = field(default_factory=dict)
    other_secrets: Mapping[str, Object] = field(default_factory=dict)

    def get(self, kind: str, name: str) -> Object | None:
        """The object, or None when it does not exist."""
        return self.objects.get((kind, name))

    def of_kind(self, kind: str) -> list[Object]:
        """All objects of one kind, ordered by name."""
        return [self.objects[key] for key in sorted(self.objects) if key[0] == kind]

    def pods(self, component: str, **labels: str) -> list[Object]:
        """Pods of a component, narrowed by ``zone=`` or ``shard=``, ordered by name."""
        wanted = {"app.kubernetes.io/component": component}
        wanted |= {f"scoreboard.dev/{key}": value for key, value in labels.items()}
        return [
            pod
            for pod in self.of_kind("Pod")
            if wanted.items() <= pod["metadata"].get("labels", {}).items()
        ]

    def secret_value(self, name: str, key: str) -> bytes | None:
        """Decoded value of an own Secret's key (its last known one), or None."""
        secret = self.get("Secret", name) or self.other_secrets.get(name) or {}
        value = (secret.get("data") or {}).get(key)
        return None if value is None else b64decode(value)


class Access(Protocol):
    """What ``observe`` and step bodies may touch: the API server and the network."""

    async def patch(self, kind: str, name: str, patch: Object) -> None:
        """Merge-patch one object of the board's namespace (labels of pods, say)."""

    async def delete(self, kind: str, name: str, *, grace_seconds: int | None = None) -> None:
        """Delete one object of the board's namespace; absent is fine."""


@dataclass(frozen=True)
class Step:
    """One ordered operation that is not an object: form a cluster, move a leader, grow a topic.

    ``run`` must be safe to repeat: a crash between its effect and the next pass runs it again.
    """

    name: str
    detail: str
    run: Callable[[Access], Awaitable[None]]
    timeout_seconds: float = 30.0


@dataclass(frozen=True)
class ComponentStatus:
    """What a component reports: its condition and the rows it adds to the status tables.

    ``reason`` is CamelCase and stable; ``message`` says what is awaited, for whom and where.
    ``stalled`` is True only for what the user must mend. ``tables`` maps a status field
    (``shards``, ``topics``, ``cacheNodes`` …) to its rows.
    """

    ready: bool
    reason: str
    message: str
    stalled: bool = False
    tables: Mapping[str, Any] = field(default_factory=dict)


async def observe_nothing(board: Board, snapshot: Snapshot, access: Access) -> None:
    """For components without an engine protocol of their own."""


def no_steps(
    board: Board, snapshot: Snapshot, observed: Any, pending: frozenset[str]
) -> Sequence[Step]:
    """For components that consist of objects only."""
    return ()


@dataclass(frozen=True)
class Component:
    """A component as the reconcile loop sees it.

    ``name``      folder name and ``app.kubernetes.io/component`` prefix
    ``condition`` type of its status condition
    ``after``     conditions that must have been true before its objects are first created
    ``desired``   (board, snapshot) -> objects; the snapshot is for values that exist once made,
                  such as keys; metadata.namespace, labels common to the board and the owner
                  reference are added by the loop (see ``build.owned``)
    ``observe``   (board, snapshot, access) -> anything; the engine's own protocol, must not raise
                  for an engine that is merely not up yet
    ``steps``     (board, snapshot, observed, pending) -> steps; ``pending`` names the workloads
                  whose update is held back
    ``status``    (board, snapshot, observed) -> ComponentStatus
    ``hold``      (board, snapshot, observed, workload) -> why this *update* must wait, or None;
                  leaving it out means the default: one zone after the other
    ``gate``      (board, snapshot, workload) -> what an update waits for in other components
                  (a new image waits for its schema), or None; asked before ``hold``
    """

    name: str
    condition: str
    desired: Callable[[Board, Snapshot], Iterable[Object]]
    status: Callable[[Board, Snapshot, Any], ComponentStatus]
    observe: Callable[[Board, Snapshot, Access], Awaitable[Any]] = observe_nothing
    steps: Callable[[Board, Snapshot, Any, frozenset[str]], Sequence[Step]] = no_steps
    after: tuple[str, ...] = ()
    hold: Callable[[Board, Snapshot, Any, Object], str | None] | None = None
    gate: Callable[[Board, Snapshot, Object], str | None] | None = None


class UserError(Exception):
    """Something only the user can mend: Stalled with ``reason`` until what it names changes."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
