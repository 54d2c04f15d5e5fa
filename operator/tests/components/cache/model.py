"""A small Redis Cluster that obeys the planner: what the real one does, without sockets.

Kept deliberately coarse: gossip takes one tick, a range moves as a whole, an election needs a
majority of the primaries with slots. Every operation checks that it is safe at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from scoreboard_operator.components.cache.layout import Layout, Node, Observed, Peer, Place
from scoreboard_operator.components.cache.topology import Operation

ZONES = ("a", "b", "c")


def small_layout(zones: int = 3) -> Layout:
    """A layout with ranges of two slots; one zone means one lone node."""
    places = []
    for index in range(zones):
        places.append(Place(f"{ZONES[index]}-0", ZONES[index], index, True))
        if zones > 1:
            places.append(Place(f"{ZONES[index]}-1", ZONES[index], (index - 1) % zones, False))
    return Layout(tuple(places), tuple((2 * i, 2 * i + 1) for i in range(zones)))


@dataclass
class Process:
    """One Redis process with the identity of its nodes.conf."""

    pod: str
    id: str
    alive: bool = True
    hidden: bool = False
    primary: str | None = None
    linked: bool = False
    epoch: int = 0
    uptime: int = 0
    silent_ticks: int = 0
    table: dict[str, str] = field(default_factory=dict)
    primaries: dict[str, str | None] = field(default_factory=dict)
    owners: dict[int, tuple[str, int]] = field(default_factory=dict)
    copies: set[int] = field(default_factory=set)
    banned: set[str] = field(default_factory=set)

    def own(self) -> set[int]:
        """Parts it serves by its own word."""
        return {part for part, (owner, _) in self.owners.items() if owner == self.id}


class UnsafeError(AssertionError):
    """The planner did something that loses data or splits a range."""


class Model:
    """The cluster and the pods around it."""

    def __init__(self, zones: int = 3) -> None:
        self.layout = small_layout(zones)
        self.names = count(1)
        self.processes: dict[str, Process | None] = {p.pod: None for p in self.layout.places}
        for pod in self.processes:
            self.start(pod)

    # -- faults ---------------------------------------------------------------------------

    def start(self, pod: str) -> None:
        """A pod that is gone comes back new; a crashed container comes back as it was."""
        process = self.processes[pod]
        if process is None:
            self.processes[pod] = Process(pod, f"id{next(self.names):03d}")
        elif not process.alive:
            process.alive, process.uptime, process.linked = True, 0, False
            process.copies = process.own()

    def delete(self, pod: str) -> None:
        """The pod goes with its directory."""
        self.processes[pod] = None

    def crash(self, pod: str) -> None:
        """The container dies; its memory goes, its nodes.conf stays."""
        process = self.processes[pod]
        if process is not None:
            process.alive, process.linked = False, False
            process.copies = set()

    def hide(self, pod: str, hidden: bool) -> None:
        """Whether the operator cannot reach a process that is well otherwise."""
        process = self.processes[pod]
        if process is not None:
            process.hidden = hidden

    # -- Redis ----------------------------------------------------------------------------

    def alive(self) -> dict[str, Process]:
        """Living processes by node id."""
        return {p.id: p for p in self.processes.values() if p is not None and p.alive}

    def tick(self) -> None:
        """Some seconds pass: gossip, failure detection, elections, replication."""
        for _ in range(2):
            for one in self.alive().values():
                for other in self.alive().values():
                    if one is not other and other.id in one.table and one.id in other.table:
                        self._gossip(one, other)
        for process in sorted(self.alive().values(), key=lambda p: p.id):
            process.uptime += 20
            if process.primary is None:
                continue
            primary = self.alive().get(process.primary)
            if primary is None:
                process.linked = False
                process.silent_ticks += 1
                if process.silent_ticks >= 2 and self._can_elect(process):
                    self._promote(process)
            else:
                process.silent_ticks = 0
                process.copies = set(primary.copies)
                process.linked = True

    def _gossip(self, one: Process, other: Process) -> None:
        """What ``one`` learns from a message of ``other``."""
        for peer_id, pod in other.table.items():
            if peer_id != one.id and peer_id not in one.banned:
                one.table.setdefault(peer_id, pod)
                one.primaries.setdefault(peer_id, other.primaries.get(peer_id))
        one.primaries[other.id] = other.primary
        if other.primary is not None:
            one.owners = {k: v for k, v in one.owners.items() if v[0] != other.id}
            if one.primary == other.id:
                one.primary = other.primary if other.primary != one.id else None
            return
        if one.primary is None and one.epoch == other.epoch and one.id < other.id:
            one.epoch = max(p.epoch for p in self.alive().values()) + 1
            for part in one.own():
                one.owners[part] = (one.id, one.epoch)
        for part in other.own():
            self._claim(one, part, other.id, other.epoch)
        for part, (owner, epoch) in one.owners.items():
            known = owner in other.table
            if part in other.own() and owner != other.id and epoch > other.epoch and known:
                self._claim(other, part, owner, epoch)

    def _claim(self, node: Process, part: int, owner: str, epoch: int) -> None:
        """A claim reaches a node; the higher epoch wins, the loser follows the winner."""
        before, known = node.owners.get(part, ("", -1))
        if before != owner and known >= epoch:
            return
        node.owners[part] = (owner, epoch)
        if before in ("", owner):
            return
        still = any(name == before for name, _ in node.owners.values())
        if before == node.id:
            node.copies.discard(part)
            if not still:
                node.primary, node.linked = owner, False
        elif node.primary == before and not still and owner != node.id:
            node.primary, node.linked = owner, False

    def _can_elect(self, process: Process) -> bool:
        voters = {owner for owner, _ in process.owners.values()}
        alive = [v for v in voters if v in self.alive() and v in process.table]
        served = any(owner == process.primary for owner, _ in process.owners.values())
        return served and 2 * len(alive) > len(voters)

    def _promote(self, process: Process) -> None:
        parts = {k for k, (owner, _) in process.owners.items() if owner == process.primary}
        known = [p.epoch for p in self.alive().values() if p.id in process.table]
        process.epoch = max([*known, process.epoch, *(e for _, e in process.owners.values())]) + 1
        process.primary, process.linked = None, False
        process.copies = set(parts)
        for part in parts:
            process.owners[part] = (process.id, process.epoch)

    # -- the operator's side --------------------------------------------------------------

    def observe(self) -> Observed:
        """What the operator sees of all this."""
        nodes = {place.pod: self._node(place) for place in self.layout.places}
        return Observed(self.layout, nodes)

    def _node(self, place: Place) -> Node:
        process = self.processes[place.pod]
        if process is None:
            return Node(place.pod, place.zone)
        if not process.alive or process.hidden:
            return Node(
                place.pod,
                place.zone,
                ip=place.pod,
                present=True,
                ready=process.alive,
                trouble="timeout",
            )
        return Node(
            place.pod,
            place.zone,
            ip=place.pod,
            present=True,
            ready=True,
            trouble=None,
            id=process.id,
            primary_id=process.primary,
            slots=self._slots(process.own()) if process.primary is None else frozenset(),
            link_up=process.linked,
            uptime=process.uptime,
            peers={peer_id: self._peer(process, peer_id) for peer_id in process.table},
        )

    def _peer(self, process: Process, peer_id: str) -> Peer:
        pod = process.table[peer_id]
        return Peer(
            peer_id,
            pod,
            pod,
            6379,
            frozenset(),
            process.primaries.get(peer_id),
            peer_id in self.alive(),
            self._slots(part for part, (owner, _) in process.owners.items() if owner == peer_id),
        )

    def _slots(self, parts: object) -> frozenset[int]:
        return frozenset().union(*(self.layout.slots(part) for part in parts))  # type: ignore

    def held(self) -> set[int]:
        """Parts of which at least one living process has the data."""
        return set().union(*(p.copies for p in self.alive().values()))

    def run(self, operation: Operation) -> None:
        """Do one operation as Redis would, and refuse to lose anything by it."""
        process = self.processes[operation.pod]
        if process is None or not process.alive:
            return
        before = self.held()
        getattr(self, f"_do_{operation.kind}")(process, operation)
        if not before <= self.held():
            raise UnsafeError(f"{operation} lost the data of {before - self.held()}")

    def _do_meet(self, process: Process, operation: Operation) -> None:
        other = self.processes[operation.target]
        if other is None or not other.alive:
            return
        process.table[other.id], other.table[process.id] = other.pod, process.pod
        process.primaries[other.id], other.primaries[process.id] = other.primary, process.primary

    def _do_forget(self, process: Process, operation: Operation) -> None:
        gone = operation.target
        if gone in self.alive():
            raise UnsafeError(f"{operation} forgets a living node")
        if process.primary == gone:
            raise UnsafeError(f"{operation} is refused: it is its primary")
        process.table.pop(gone, None)
        process.banned.add(gone)
        process.owners = {k: v for k, v in process.owners.items() if v[0] != gone}

    def _do_addslots(self, process: Process, operation: Operation) -> None:
        parts = {
            part
            for part in range(len(self.layout.ranges))
            if self.layout.slots(part) & operation.slots
        }
        for other in self.alive().values():
            if other.primary is None and other.own() & parts:
                raise UnsafeError(f"{operation}: {other.pod} serves them")
        if process.primary is not None or parts & process.owners.keys():
            return  # refused as busy
        known = [p.epoch for p in self.alive().values() if p.id in process.table]
        process.epoch = max([*known, process.epoch]) + 1
        for part in parts:
            process.owners[part] = (process.id, process.epoch)
            process.copies.add(part)

    def _do_replicate(self, process: Process, operation: Operation) -> None:
        target = self.alive().get(operation.target_id)
        if process.primary is None and process.own():
            raise UnsafeError(f"{operation} is refused: it serves slots")
        if operation.target_id not in process.table:
            raise UnsafeError(f"{operation} is refused: unknown node")
        if target is None or target.primary is not None:
            return
        process.primary, process.linked, process.copies = target.id, False, set()

    def _do_takeover(self, process: Process, operation: Operation) -> None:
        if process.primary is None:
            return
        primary = self.alive().get(process.primary)
        if primary is not None and primary.own():
            raise UnsafeError(f"{operation}: its primary is alive")
        self._promote(process)

    def _do_force(self, process: Process, operation: Operation) -> None:
        if process.primary in self.alive():
            raise UnsafeError(f"{operation}: its primary is alive")
        if process.primary is not None and self._can_elect(process):
            self._promote(process)

    def _do_failover(self, process: Process, operation: Operation) -> None:
        primary = self.alive().get(process.primary or "")
        if primary is None or not process.linked:
            return
        self._promote(process)
        self._gossip(primary, process)
        primary.copies = set(process.copies)
