"""Which cache pods a board has, which slots each should serve, and what was seen of them.

The pair of a slot range is fixed: pod -0 of the range's own zone (preferred primary) and pod -1 of
the next zone (its replica). Every other module speaks in these terms, so they stand here alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from scoreboard_operator.components.base import Board, Object
from scoreboard_operator.components.build import pod_ready

SLOTS = 16384
"""Hash slots of every Redis Cluster (cluster specification)."""

PORT = 6379
BUS_PORT = 16379
"""The cluster bus listens 10000 above the client port unless told otherwise."""

REPLICAS_PER_ZONE = 2

SlotRange = tuple[int, int]
"""First and last slot, both included."""


@dataclass(frozen=True)
class Place:
    """One pod of the wanted layout.

    ``part``     index of the slot range the pod belongs to
    ``primary``  whether it is the range's preferred primary (else its replica)
    """

    pod: str
    zone: str
    part: int
    primary: bool


@dataclass(frozen=True)
class Layout:
    """All places of a board, ordered by zone and then by pod, and its slot ranges."""

    places: tuple[Place, ...]
    ranges: tuple[SlotRange, ...]

    def of_part(self, part: int) -> tuple[Place, ...]:
        """The places of one slot range, the preferred primary first."""
        chosen = [place for place in self.places if place.part == part]
        return tuple(sorted(chosen, key=lambda place: not place.primary))

    def place(self, pod: str) -> Place | None:
        """The place of a pod, or None when the layout has no such pod."""
        return next((place for place in self.places if place.pod == pod), None)

    def slots(self, part: int) -> frozenset[int]:
        """The slots of one range."""
        first, last = self.ranges[part]
        return frozenset(range(first, last + 1))


@dataclass(frozen=True)
class Peer:
    """One row of a node's CLUSTER NODES table.

    ``pod`` is read from the announced host name and None while that is unknown;
    ``flags`` are Redis's own words (``master``, ``slave``, ``fail?``, ``fail``, ``handshake``,
    ``noaddr``); ``linked`` is that node's view of its bus connection to the peer,
    ``epoch`` the highest configuration epoch it heard the peer claim.
    """

    id: str
    pod: str | None
    ip: str
    port: int
    flags: frozenset[str]
    primary_id: str | None
    linked: bool
    slots: frozenset[int]
    epoch: int = 0


@dataclass(frozen=True)
class Node:
    """What is known of one pod of the layout at the start of a pass.

    ``present``   a pod exists that ran and may still hold its directory; False means that any
                  node id it had is gone for good, since nodes.conf lives as long as the pod
    ``ready``     the API server calls it Ready and it is not going away
    ``leaving``   it is being deleted
    ``trouble``   why it did not answer; None exactly when it answered, and only then the
                  remaining fields mean something
    ``link_up``   replicas: in sync with the primary; ``syncing``: first copy under way
    ``follows``   address at which a replica looks for its primary
    ``working``   it accepts commands: it sees a majority of the primaries
    ``epoch``     age of its claim to its slots; the higher one wins
    ``offset``    bytes of the replication stream it has
    ``uptime``    seconds since the process started
    ``drift``     live settings that differ: name -> wanted value
    """

    pod: str
    zone: str
    ip: str = ""
    port: int = PORT
    present: bool = False
    ready: bool = False
    leaving: bool = False
    trouble: str | None = "no pod yet"
    id: str = ""
    primary_id: str | None = None
    slots: frozenset[int] = frozenset()
    link_up: bool = False
    syncing: bool = False
    follows: tuple[str, int] | None = None
    working: bool = False
    epoch: int = 0
    offset: int = 0
    uptime: int = 0
    peers: Mapping[str, Peer] = field(default_factory=dict)
    drift: Mapping[str, str] = field(default_factory=dict)

    @property
    def answered(self) -> bool:
        """Whether the node itself was heard in this pass."""
        return self.trouble is None

    @property
    def is_primary(self) -> bool:
        """Whether the node calls itself a primary (it may serve no slot)."""
        return self.answered and self.primary_id is None


@dataclass(frozen=True)
class Observed:
    """All pods of the layout by name.

    ``remembered`` holds what some that did not answer said a moment ago: good enough to judge by,
    not to act on.
    """

    layout: Layout
    nodes: Mapping[str, Node]
    remembered: Mapping[str, Node] = field(default_factory=dict)

    def answering(self) -> list[Node]:
        """The nodes heard in this pass, in the layout's order."""
        ordered = (self.nodes[place.pod] for place in self.layout.places)
        return [node for node in ordered if node.answered]

    def owner(self, part: int) -> Node | None:
        """The answering primary that serves the largest share of a range, if any."""
        return self._owners[part]

    @cached_property
    def _owners(self) -> list[Node | None]:
        """Owners of all ranges: worked out once, since intersecting slots was half of a pass."""
        primaries = [node for node in self.answering() if node.is_primary and node.slots]
        return [self._owner(self.layout.slots(part), primaries) for part in range(self.parts)]

    @property
    def parts(self) -> int:
        """Number of ranges."""
        return len(self.layout.ranges)

    @staticmethod
    def _owner(wanted: frozenset[int], primaries: list[Node]) -> Node | None:
        shares = [(len(node.slots & wanted), node) for node in primaries]
        share, owner = max(shares, key=lambda pair: pair[0], default=(0, None))
        return owner if share else None

    def served(self) -> frozenset[int]:
        """Slots that some answering primary serves."""
        return frozenset().union(*(n.slots for n in self.answering() if n.is_primary))


def service_name(board: Board) -> str:
    """Name of the headless Service, the prefix of every name of this component."""
    return f"{board.name}-cache"


def workload_name(board: Board, zone: str) -> str:
    """Name of a zone's StatefulSet."""
    return f"{service_name(board)}-{zone}"


def pod_host(board: Board, pod: str) -> str:
    """The host name a node announces to clients and other nodes."""
    return f"{pod}.{board.host(service_name(board))}"


def slot_ranges(parts: int) -> tuple[SlotRange, ...]:
    """All slots cut into ``parts`` adjacent ranges whose sizes differ by at most one."""
    edges = [round(index * SLOTS / parts) for index in range(parts + 1)]
    return tuple((edges[i], edges[i + 1] - 1) for i in range(parts))


def wanted_layout(board: Board) -> Layout:
    """The layout of a board: three zones with a pair per range, or a single lone node."""
    count = len(board.zones)
    places: list[Place] = []
    for index, zone in enumerate(board.zones):
        name = workload_name(board, zone)
        places.append(Place(f"{name}-0", zone, index, True))
        if count > 1:
            places.append(Place(f"{name}-1", zone, (index - 1) % count, False))
    return Layout(tuple(places), slot_ranges(count))


def in_ranges(slots: Iterable[int]) -> list[SlotRange]:
    """Slots as the shortest list of adjacent ranges."""
    found: list[SlotRange] = []
    for slot in sorted(slots):
        if found and found[-1][1] == slot - 1:
            found[-1] = (found[-1][0], slot)
        else:
            found.append((slot, slot))
    return found


def slots_text(slots: Iterable[int]) -> str:
    """Slots as people write them: ``0-5460`` or ``0-99,200``; empty for none."""
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in in_ranges(slots))


def node_of_pod(place: Place, pod: Object | None) -> Node:
    """What the API server alone tells about a place."""
    if pod is None:
        return Node(place.pod, place.zone)
    status = pod.get("status", {})
    ip = status.get("podIP", "")
    phase = status.get("phase")
    # A pod whose machine rebooted loses its address for a moment but keeps its directory, so
    # phase Running alone counts as present; a pod that never started has no identity to keep.
    present = phase not in ("Succeeded", "Failed") and bool(ip or phase == "Running")
    return Node(
        place.pod,
        place.zone,
        ip=ip,
        present=present,
        ready=pod_ready(pod),
        leaving=bool(pod["metadata"].get("deletionTimestamp")),
        trouble="not asked yet" if ip and present else "no address yet",
    )
