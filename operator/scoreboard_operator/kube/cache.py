"""A watch cache of everything that carries a board's label, and of Scoreboards and Nodes.

One list-and-watch per kind serves all Scoreboards. A change that could matter to a pass wakes the
Scoreboard it belongs to; heartbeats that cannot (Patroni renews its leader record every few
seconds, for example) only replace the stored copy.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import aiohttp
import structlog

from scoreboard_operator.api import BOARD_LABEL, KIND, MANAGED_BY
from scoreboard_operator.kube.client import ApiError, KubeClient, Object
from scoreboard_operator.kube.kinds import KINDS

log = structlog.get_logger(__name__)

SELECTOR = f"app.kubernetes.io/managed-by={MANAGED_BY}"
Key = tuple[str, str]
"""(namespace, name) of a Scoreboard."""


class ObjectCache:
    """The last known state of the cluster, as far as it concerns Scoreboards.

    ``on_change(key)`` is called for every change that may matter to that Scoreboard, and
    ``on_change(None)`` for one that may matter to all (nodes came, went or moved zone).
    """

    def __init__(self, client: KubeClient, on_change: Callable[[Key | None], None]) -> None:
        self._client = client
        self._on_change = on_change
        self._by_board: dict[Key, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._tombstones: dict[tuple[Key, str], Object] = {}
        self._boards: dict[Key, Object] = {}
        self._nodes: dict[str, Object] = {}
        self._synced: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._contact: dict[str, float] = {}

    @property
    def silence(self) -> tuple[str, float]:
        """The kind whose watch has been silent for longest, and for how many seconds."""
        kind, at = min(self._contact.items(), key=lambda item: item[1], default=("none", None))
        return kind, 0.0 if at is None else time.monotonic() - at

    async def start(self) -> None:
        """Start all watches and wait until every kind has been listed once."""
        kinds = [name for name, kind in KINDS.items() if kind.watched] + [KIND, "Node"]
        for kind in kinds:
            self._synced[kind] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._reflect(kind), name=f"watch-{kind}"))
        await asyncio.gather(*(event.wait() for event in self._synced.values()))

    async def stop(self) -> None:
        """End all watches."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def board(self, key: Key) -> Object | None:
        """The Scoreboard resource."""
        return self._boards.get(key)

    def boards(self) -> list[Object]:
        """All Scoreboards."""
        return list(self._boards.values())

    def children(self, key: Key) -> dict[tuple[str, str], Object]:
        """A copy of the board's live objects by (kind, name)."""
        return dict(self._by_board.get(key, {}))

    def deleted_secrets(self, key: Key) -> dict[str, Object]:
        """Last content of the board's deleted Secrets, so that they are put back as they were."""
        return {name: live for (board, name), live in self._tombstones.items() if board == key}

    def nodes(self) -> list[Object]:
        """All nodes, trimmed to what zone decisions need."""
        return list(self._nodes.values())

    def absorb(self, live: Object) -> None:
        """Take in the answer of an own write at once, so that the next pass does not repeat it."""
        stored = self._find(live["kind"], live)
        if stored is None or _newer(live, stored):
            self._store(live["kind"], live, wake=False)

    async def _reflect(self, kind: str) -> None:
        """List, then watch, forever; back off with jitter while the API server is away."""
        selector = SELECTOR if KINDS[kind].watched else None
        delay = 0.2
        version: str | None = None
        while True:
            try:
                if version is None:
                    version = await self._relist(kind, selector)
                    self._synced[kind].set()
                async for event in self._client.watch(kind, version, selector=selector):
                    delay = 0.2
                    self._contact[kind] = time.monotonic()
                    live = event["object"]
                    version = live["metadata"]["resourceVersion"]
                    if event["type"] == "BOOKMARK":
                        continue
                    live.setdefault("kind", kind)
                    if event["type"] == "DELETED":
                        self._remove(kind, live)
                    else:
                        self._store(kind, live, wake=True)
            except ApiError as error:
                if error.status == 410:
                    version = None
                    continue
                log.warning("watch failed", kind=kind, error=str(error))
                version = None
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                log.info("watch interrupted", kind=kind, error=repr(error))
            await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311
            delay = min(delay * 2, 10.0)

    async def _relist(self, kind: str, selector: str | None) -> str:
        listing = await self._client.list(kind, selector=selector)
        self._contact[kind] = time.monotonic()
        seen = set()
        for live in listing["items"]:
            live["kind"] = kind
            live.setdefault("apiVersion", KINDS[kind].api_version)
            seen.add(_identity(live))
            self._store(kind, live, wake=True)
        for gone in [o for o in self._of_kind(kind) if _identity(o) not in seen]:
            self._remove(kind, gone)
        return str(listing["metadata"]["resourceVersion"])

    def _of_kind(self, kind: str) -> list[Object]:
        if kind == KIND:
            return list(self._boards.values())
        if kind == "Node":
            return list(self._nodes.values())
        return [
            live
            for objects in self._by_board.values()
            for (live_kind, _), live in objects.items()
            if live_kind == kind
        ]

    def _find(self, kind: str, live: Object) -> Object | None:
        if kind == KIND:
            return self._boards.get(_identity(live))
        if kind == "Node":
            return self._nodes.get(live["metadata"]["name"])
        key = _board_key(live)
        return self._by_board[key].get((kind, live["metadata"]["name"])) if key else None

    def _store(self, kind: str, live: Object, *, wake: bool) -> None:
        live["metadata"].pop("managedFields", None)
        old = self._find(kind, live)
        if kind == KIND:
            self._boards[_identity(live)] = live
            key: Key | None = _identity(live)
        elif kind == "Node":
            self._nodes[live["metadata"]["name"]] = _trim_node(live)
            key = None
        else:
            key = _board_key(live)
            if key is None:
                return
            self._by_board[key][(kind, live["metadata"]["name"])] = live
        if wake and (old is None or _significance(kind, old) != _significance(kind, live)):
            self._on_change(key)

    def _remove(self, kind: str, live: Object) -> None:
        if kind == KIND:
            gone = _identity(live)
            self._boards.pop(gone, None)
            for tombstone in [entry for entry in self._tombstones if entry[0] == gone]:
                del self._tombstones[tombstone]
            self._on_change(gone)
            return
        if kind == "Node":
            self._nodes.pop(live["metadata"]["name"], None)
            self._on_change(None)
            return
        key = _board_key(live)
        if key is None:
            return
        board = self._boards.get(key)
        # While a Scoreboard is being deleted, its Secrets are deleted on purpose.
        if kind == "Secret" and board and not board["metadata"].get("deletionTimestamp"):
            self._tombstones[(key, live["metadata"]["name"])] = live
        objects = self._by_board.get(key, {})
        objects.pop((kind, live["metadata"]["name"]), None)
        if not objects:
            self._by_board.pop(key, None)
        self._on_change(key)


def _identity(live: Object) -> Key:
    return live["metadata"].get("namespace", ""), live["metadata"]["name"]


def _board_key(live: Object) -> Key | None:
    name = live["metadata"].get("labels", {}).get(BOARD_LABEL)
    return (live["metadata"]["namespace"], name) if name else None


def _newer(live: Object, stored: Object) -> bool:
    if live["metadata"].get("uid") != stored["metadata"].get("uid"):
        return True
    return int(live["metadata"]["resourceVersion"]) > int(stored["metadata"]["resourceVersion"])


def _trim_node(live: Object) -> Object:
    meta = live["metadata"]
    ready = [c for c in live.get("status", {}).get("conditions", []) if c["type"] == "Ready"]
    return {
        "kind": "Node",
        "metadata": {
            "name": meta["name"],
            "labels": meta.get("labels", {}),
            "resourceVersion": meta["resourceVersion"],
        },
        "status": {"conditions": ready},
    }


# Patroni renews these every loop; nothing in them changes what a pass would do.
_HEARTBEATS = frozenset({"renewTime", "optime", "slots", "retain_slots", "failsafe"})


def _significance(kind: str, live: Object) -> Any:
    """The part of an object whose change wakes a pass."""
    meta = live["metadata"]
    common = (meta.get("uid"), meta.get("labels"), meta.get("deletionTimestamp"))
    status = live.get("status", {})
    if kind == KIND:
        return common, meta.get("generation"), meta.get("annotations")
    if kind == "Node":
        conditions = [(c["type"], c["status"]) for c in status.get("conditions", [])]
        return meta.get("labels", {}).get("topology.kubernetes.io/zone"), conditions
    if kind == "Pod":
        containers = status.get("containerStatuses", []) + status.get("initContainerStatuses", [])
        return (
            common,
            status.get("phase"),
            status.get("podIP"),
            [(c["type"], c["status"]) for c in status.get("conditions", [])],
            [
                (
                    c["name"],
                    c.get("ready"),
                    c.get("restartCount"),
                    (c.get("state", {}).get("waiting") or {}).get("reason"),
                )
                for c in containers
            ],
        )
    if kind in ("ConfigMap", "Secret"):
        annotations = {k: v for k, v in meta.get("annotations", {}).items() if k not in _HEARTBEATS}
        return common, annotations, live.get("data")
    return common, meta.get("annotations"), live.get("spec"), live.get("rules"), status
