"""Who knows whom: what the nodes' tables tell about each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scoreboard_operator.components.cache.layout import Node, Observed, Peer

MAX_LAG_BYTES = 1 << 20
"""A replica further behind than this is not handed the primary role; the hand-over stops writes
until it has caught up."""


def main_group(answering: list[Node]) -> list[Node]:
    """The main group: the best connected node and everyone it shares knowledge with."""

    def weight(node: Node) -> tuple[int, bool, int]:
        friends = sum(1 for other in answering if in_tables(node, other))
        return (friends, bool(node.slots), len(node.peers))

    if not answering:
        return []
    first = max(answering, key=weight)
    others = [node for node in answering if node is not first and in_tables(first, node)]
    return [first, *others]


def in_tables(one: Node, other: Node) -> bool:
    """Whether two nodes have each other in their tables, past the handshake."""
    there, back = one.peers.get(other.id), other.peers.get(one.id)
    return (
        there is not None
        and back is not None
        and not there.flags & {"handshake"}
        and not back.flags & {"handshake"}
    )


def know_each_other(one: Node, other: Node) -> bool:
    """Whether two nodes are in each other's tables and can reach each other."""
    return in_tables(one, other) and can_find(one, other) and can_find(other, one)


def can_find(one: Node, other: Node) -> bool:
    """Whether a node is linked to another, or at least looks for it at the right address."""
    row = one.peers[other.id]
    return row.linked or (
        (row.ip, row.port) == (other.ip, other.port) and "noaddr" not in row.flags
    )


def rows_of_silent(joined: list[Node], answering: Mapping[str, Node]) -> dict[str, list[Peer]]:
    """Rows of the joined nodes' tables about nodes that did not answer, by node id."""
    rows: dict[str, list[Peer]] = {}
    for node in joined:
        for row in node.peers.values():
            if row.id not in answering and not row.flags & {"handshake"}:
                rows.setdefault(row.id, []).append(row)
    return rows


def looks_astray(node: Node, owner: Node) -> bool:
    """Whether a replica looks for its primary at an address that is not the primary's.

    Redis 8.0 keeps a replica's old target when the table learns the new address otherwise than
    from the primary itself; being told again whom to replicate mends it (seen when all pods came
    back with each other's addresses).
    """
    return not node.link_up and node.follows not in (None, (owner.ip, owner.port))


def in_sync(node: Node, owner: Node) -> bool:
    """Whether a replica may become primary without anyone noticing."""
    return (
        node.link_up
        and not node.syncing
        and node.ready
        and owner.offset - node.offset <= MAX_LAG_BYTES
    )


def vouched(seen: Observed) -> Observed:
    """The same view with silent nodes filled in that everyone else is in touch with.

    A busy machine makes a node miss the operator's short time limit now and then. Its peers
    exchange pings with it every second; when its pod is ready and each of them is connected to it
    and suspects nothing, it is well. For judging only: plans take silence at its word.
    """
    answering = seen.answering()
    filled = dict(seen.nodes)
    for pod, node in seen.nodes.items():
        rows = [row for n in answering for row in n.peers.values() if row.pod == pod]
        if node.answered or not node.ready or not rows or len(rows) != len(answering):
            continue
        if len({row.id for row in rows}) == 1 and all(_is_well(row) for row in rows):
            row = rows[0]
            filled[pod] = replace(
                node,
                trouble=None,
                id=row.id,
                primary_id=row.primary_id,
                slots=row.slots,
                link_up=True,
                working=True,
            )
    return replace(seen, nodes=filled)


def believed(seen: Observed) -> Observed:
    """The same view with silent nodes filled in: by their peers' word, else by their own last one.

    For judging only. Nobody's last word stands against peers that agree the node has failed.
    """
    view = vouched(seen)
    filled = dict(view.nodes)
    for pod, last in seen.remembered.items():
        failed = any(
            row.id == last.id and "fail" in row.flags
            for node in seen.answering()
            for row in node.peers.values()
        )
        if not filled[pod].answered and not failed:
            filled[pod] = last
    return replace(view, nodes=filled)


def _is_well(row: Peer) -> bool:
    return row.linked and not row.flags & {"fail", "fail?", "noaddr", "handshake"}
