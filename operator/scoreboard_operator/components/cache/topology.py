"""Plans the repair of the cluster layout: what was seen in, ordered operations out.

Pure. Redis keeps doing what it does well (failure detection, elections, gossip); the plan only
mends what it cannot: nodes that never met, identities that are gone, slots nobody has, replicas
of nobody, and primaries in the wrong zone.

Three rules make every operation safe at any moment, including on a half-true view:
* a slot is given away only when no node that may be alive claims it;
* a replica of a lost primary keeps its copy: it takes over before its primary is forgotten;
* a primary moves only to a replica in sync, and only when nothing else is left to mend.
Every operation may be repeated, and a plan may be cut off after any of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scoreboard_operator.components.cache.acquaintance import (
    in_sync,
    know_each_other,
    looks_astray,
    main_group,
    rows_of_silent,
)
from scoreboard_operator.components.cache.layout import Node, Observed, slots_text

Kind = Literal[
    "config", "meet", "takeover", "force", "forget", "addslots", "bump", "replicate", "failover"
]

SETTLE_SECONDS = 10
"""A returned node serves as replica this long before it gets its primary role back, so that a
pod that crashes at start does not drag its range along."""

PATIENCE_SECONDS = 60
"""How long a replica's pod waits for its range's preferred primary before it takes slots nobody
serves."""


@dataclass(frozen=True)
class Operation:
    """One command to one node.

    ``pod`` runs it; ``target`` is the other pod (meet, replicate) or node id (forget);
    ``target_id`` the other node's id (meet, replicate); ``slots`` for addslots; ``settings`` for
    config; ``why`` one phrase for people.
    """

    kind: Kind
    pod: str
    why: str
    target: str = ""
    target_id: str = ""
    slots: frozenset[int] = frozenset()
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Operations in order, and what only time or another pod can mend."""

    operations: tuple[Operation, ...]
    waiting: tuple[str, ...]


def plan(seen: Observed, held_zones: frozenset[str] = frozenset()) -> Plan:
    """The next operations towards the wanted layout; empty when it is reached.

    ``held_zones`` are about to be restarted: they get no primary back for now.
    """
    return _Planner(seen, held_zones).run()


class _Planner:
    """One planning pass; its fields are the view all rules share."""

    def __init__(self, seen: Observed, held_zones: frozenset[str]) -> None:
        self.seen = seen
        self.held_zones = held_zones
        self.answering = seen.answering()
        self.by_id = {node.id: node for node in self.answering}
        self.joined = main_group(self.answering)
        self.joined_ids = {node.id for node in self.joined}
        self.rows = rows_of_silent(self.joined, self.by_id)
        self.ghosts = {peer_id for peer_id in self.rows if self._is_ghost(peer_id)}
        self.keep: set[str] = set()
        self.meets: list[Operation] = []
        self.rescues: list[Operation] = []
        self.forgets: list[Operation] = []
        self.assigns: list[Operation] = []
        self.follows: list[Operation] = []
        self.bumps: list[Operation] = []
        self.moves: list[Operation] = []
        self.waiting: list[str] = []

    def run(self) -> Plan:
        """Apply the rules in the order in which they depend on each other."""
        config = [
            Operation("config", node.pod, "setting changed", settings=node.drift)
            for node in self.answering
            if node.drift
        ]
        self._meet()
        for peer_id in sorted(self.rows):
            self._rescue(peer_id)
        self._forget()
        for part in range(len(self.seen.layout.ranges)):
            owner = self._assign(part)
            if owner is not None:
                self._follow(part, owner)
        self._bump()
        mending = [
            *self.meets,
            *self.rescues,
            *self.forgets,
            *self.assigns,
            *self.bumps,
            *self.follows,
        ]
        if not mending:
            self._move_back()
        return Plan((*config, *mending, *self.moves[:1]), tuple(self.waiting))

    # -- who is who -----------------------------------------------------------------------

    def _pod_of(self, peer_id: str) -> str | None:
        """The pod a row of the tables belongs to: by announced host name, else by address."""
        for row in self.rows[peer_id]:
            if row.pod is not None:
                return row.pod
        addresses = {(row.ip, row.port) for row in self.rows[peer_id] if row.ip}
        for node in self.seen.nodes.values():
            if (node.ip, node.port) in addresses:
                return node.pod
        return None

    def _is_ghost(self, peer_id: str) -> bool:
        """Whether an identity can never come back: its pod has another one, or is gone."""
        pod = self._pod_of(peer_id)
        if pod is None:
            return len(self.answering) == len(self.seen.nodes)
        node = self.seen.nodes.get(pod)
        return node is None or node.answered or not node.present

    def _may_live(self, peer_id: str) -> bool:
        """Whether an identity that did not answer may serve at this moment all the same."""
        if peer_id in self.ghosts:
            return False
        node = self.seen.nodes.get(self._pod_of(peer_id) or "")
        return node is None or node.ready

    def _slots_of(self, peer_id: str) -> frozenset[int]:
        """Slots of a silent node as the joined nodes tell it, less what a living one serves."""
        told = frozenset[int]().union(*(row.slots for row in self.rows[peer_id]))
        return told - self.seen.served()

    def _majority(self) -> bool:
        """Whether the primaries that answered can vote for a replica by themselves."""
        voters = {node.id for node in self.joined if node.is_primary and node.slots}
        silent = {peer_id for peer_id in self.rows if self._slots_of(peer_id)}
        return 2 * len(voters) > len(voters) + len(silent)

    # -- rules ----------------------------------------------------------------------------

    def _meet(self) -> None:
        """Introduce every node to the main group, then those that still miss each other."""
        if not self.joined:
            return
        first = self.joined[0]
        for node in self.answering:
            if node.id not in self.joined_ids:
                why = f"{node.pod} does not know the cluster yet"
                self.meets.append(_meeting(first, node, why))
        for index, one in enumerate(self.joined):
            for other in self.joined[index + 1 :]:
                if not know_each_other(one, other):
                    why = f"{other.pod} is not connected to {one.pod}"
                    self.meets.append(_meeting(one, other, why))

    def _rescue(self, peer_id: str) -> None:
        """Let a replica take the slots of a lost primary when Redis cannot do it by itself."""
        slots = self._slots_of(peer_id)
        pod = self._pod_of(peer_id) or peer_id[:8]
        heirs = [node for node in self.joined if node.primary_id == peer_id]
        if not slots and not heirs:
            return
        text = slots_text(slots)
        if not heirs:
            if self._hidden_heir(peer_id):
                self.keep.add(peer_id)
                self.waiting.append(f"slots {text}: a replica of the lost {pod} does not answer")
            elif peer_id not in self.ghosts:
                self.waiting.append(f"slots {text}: {pod} does not answer and has no replica")
            return
        if not slots:
            return  # replicas of a primary without slots simply follow another one
        best = max(heirs, key=lambda node: (node.offset, node.pod))
        self.keep.add(peer_id)
        if self._may_live(peer_id):
            self.waiting.append(f"slots {text}: {pod} does not answer, {best.pod} stands by")
        elif not self._majority():
            why = f"{pod} is lost and too few primaries are left to vote"
            self.rescues.append(Operation("takeover", best.pod, why, slots=slots))
        elif peer_id in self.ghosts:
            why = f"{pod} lost its identity for good"
            self.rescues.append(Operation("force", best.pod, why, slots=slots))
        else:
            self.waiting.append(f"slots {text}: {pod} is down, Redis is electing {best.pod}")

    def _hidden_heir(self, peer_id: str) -> bool:
        """Whether a replica that did not answer, but may be alive, has the lost one's data."""
        return any(
            row.primary_id == peer_id and other != peer_id and self._may_live(other)
            for other, rows in self.rows.items()
            for row in rows
        )

    def _forget(self) -> None:
        """Take identities that are gone out of every table, once nothing depends on them."""
        for peer_id in sorted(self.ghosts - self.keep):
            pod = self._pod_of(peer_id)
            why = f"former identity of {pod}" if pod else "identity of no pod"
            for node in self.answering:
                if peer_id in node.peers and node.primary_id != peer_id:
                    self.forgets.append(Operation("forget", node.pod, why, target=peer_id))

    def _claimed(self) -> frozenset[int]:
        """Slots that must not be given to anyone: served, or held by one that may come back."""
        held = [
            self._slots_of(peer_id)
            for peer_id in self.rows
            if peer_id not in self.ghosts or peer_id in self.keep
        ]
        return self.seen.served().union(*held)

    def _assign(self, part: int) -> Node | None:
        """Give a range's free slots to one of its two pods; returns the range's owner."""
        owner = self.seen.owner(part)
        free = self.seen.layout.slots(part) - self._claimed()
        if not free:
            return owner if owner is not None and owner.id in self.joined_ids else None
        taker = owner if owner is not None else self._taker(part)
        if taker is None:
            return None
        if taker.id not in self.joined_ids:
            return None
        if not taker.is_primary:
            # A replica of nobody worth following: taking over makes it an empty primary.
            why = "its primary serves no slot"
            self.rescues.append(Operation("takeover", taker.pod, why))
            return None
        why = f"nobody serves slots {slots_text(free)}"
        self.assigns.append(Operation("addslots", taker.pod, why, slots=free))
        return taker

    def _taker(self, part: int) -> Node | None:
        """Who gets the slots of a range that no pod has: its preferred primary if it can."""
        places = self.seen.layout.of_part(part)
        members = [self.seen.nodes[place.pod] for place in places]
        text = slots_text(self.seen.layout.slots(part))
        for member in members:
            if not member.answered and member.ready:
                self.waiting.append(f"slots {text}: {member.pod} is ready but does not answer")
                return None
        for member, place in zip(members, places, strict=True):
            if not member.answered or not self._free_to_serve(member):
                continue
            if place.primary or member.uptime >= PATIENCE_SECONDS:
                return member
        names = " or ".join(place.pod for place in places)
        self.waiting.append(f"slots {text}: waiting for {names}")
        return None

    def _free_to_serve(self, node: Node) -> bool:
        """Whether a node may take a range: it neither serves nor copies slots of others."""
        if node.is_primary:
            return not node.slots
        primary = self.by_id.get(node.primary_id or "")
        if primary is not None:
            return not primary.slots
        return node.primary_id in self.rows and not self._slots_of(node.primary_id)

    def _follow(self, part: int, owner: Node) -> None:
        """Make the range's other pod a replica of its owner."""
        for place in self.seen.layout.of_part(part):
            node = self.seen.nodes[place.pod]
            if node.id == owner.id or node.id not in self.joined_ids:
                continue
            if owner.id not in node.peers:
                continue
            if node.primary_id == owner.id and not looks_astray(node, owner):
                continue
            if self._is_needed_elsewhere(node):
                self.waiting.append(f"{node.pod} serves or guards other slots")
                continue
            why = f"replica of slots {slots_text(self.seen.layout.slots(part))}"
            self.follows.append(
                Operation("replicate", node.pod, why, target=owner.pod, target_id=owner.id)
            )

    def _bump(self) -> None:
        """Renew a primary's claim that is older than what the others heard of it.

        Redis 8.0 can count the votes of a former election when a replica is promoted twice
        within seconds; it then serves by an old claim, and nobody votes for its replica.
        """
        for node in self.joined:
            heard = [other.peers[node.id].epoch for other in self.joined if node.id in other.peers]
            if node.is_primary and node.slots and max(heard, default=0) > node.epoch:
                why = "its claim is older than what the others heard"
                self.bumps.append(Operation("bump", node.pod, why))

    def _is_needed_elsewhere(self, node: Node) -> bool:
        """Whether a node serves slots, or has the only copy of a silent primary's."""
        if node.is_primary:
            return bool(node.slots) or any(op.pod == node.pod for op in self.assigns)
        primary = node.primary_id or ""
        return primary in self.rows and bool(self._slots_of(primary))

    def _move_back(self) -> None:
        """Return the primary role to the preferred pod of a range, one range at a time."""
        if not self._majority():
            return
        for place in self.seen.layout.places:
            node = self.seen.nodes[place.pod]
            owner = self.seen.owner(place.part)
            if not place.primary or owner is None or owner.pod == place.pod:
                continue
            if not node.answered or node.primary_id != owner.id:
                continue
            text = slots_text(self.seen.layout.slots(place.part))
            if place.zone in self.held_zones:
                self.waiting.append(f"slots {text}: {place.zone} is to be restarted first")
            elif not in_sync(node, owner) or node.uptime < SETTLE_SECONDS:
                self.waiting.append(f"slots {text}: {node.pod} is catching up with {owner.pod}")
            else:
                why = f"preferred primary of slots {text}"
                self.moves.append(Operation("failover", node.pod, why, target=owner.pod))


def _meeting(one: Node, other: Node, why: str) -> Operation:
    return Operation("meet", one.pod, why, target=other.pod, target_id=other.id)
