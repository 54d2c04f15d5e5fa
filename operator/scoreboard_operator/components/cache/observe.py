"""Asks every cache pod what it is and what it knows; a pod that is down is a finding, no error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from redis.exceptions import ResponseError

from scoreboard_operator.components.base import Access, Board, Snapshot
from scoreboard_operator.components.cache.client import (
    Command,
    NodeUnreachableError,
    Reply,
    Wire,
    wire,
)
from scoreboard_operator.components.cache.layout import (
    Node,
    Observed,
    Peer,
    node_of_pod,
    wanted_layout,
)
from scoreboard_operator.components.cache.node_config import live_settings
from scoreboard_operator.components.memory import Memory

_memory: Memory[Node] = Memory()

_QUESTIONS: tuple[Command, ...] = (
    ("CLUSTER", "NODES"),
    ("CLUSTER", "INFO"),
    ("INFO", "replication"),
    ("INFO", "server"),
)


async def observe(board: Board, snapshot: Snapshot, access: Access) -> Observed:
    """What all cache pods say at this moment.

    Never raises for a node that is down, starting or refusing.
    """
    layout = wanted_layout(board)
    known = [node_of_pod(p, snapshot.get("Pod", p.pod)) for p in layout.places]
    connection = wire(board, snapshot)
    if connection is None:
        nodes = [replace(n, trouble="its credentials are not there yet") for n in known]
    else:
        wanted = live_settings(board)
        nodes = list(await asyncio.gather(*(_ask(connection, n, wanted) for n in known)))
    return Observed(layout, {node.pod: node for node in nodes}, _remembered(board, nodes))


def _remembered(board: Board, nodes: list[Node]) -> dict[str, Node]:
    """What ready nodes that did not answer said before; a new pod has said nothing."""
    found: dict[str, Node] = {}
    for node in nodes:
        if node.answered:
            _memory.keep(board, node, node.pod)
        elif not node.ready:
            _memory.drop(board, node.pod)
        else:
            last = _memory.missed(board, node.pod)
            if last is not None and last.ip == node.ip:
                found[node.pod] = last
    return found


async def _ask(connection: Wire, node: Node, wanted: Mapping[str, str]) -> Node:
    """Complete what the API server knows with the node's own word."""
    if not node.ip or not node.present:
        return node
    try:
        replies = await connection.ask(node, [*_QUESTIONS, ("CONFIG", "GET", *wanted)])
    except NodeUnreachableError as error:
        return replace(node, trouble=str(error))
    return read_replies(node, replies, wanted)


def read_replies(node: Node, replies: list[Reply], wanted: Mapping[str, str]) -> Node:
    """A node with the answers to all questions; one that refuses any of them has trouble."""
    refused = next((reply for reply in replies if isinstance(reply, ResponseError)), None)
    if refused is not None:
        return replace(node, trouble=str(refused)[:160])
    table, state, replication, server, settings = replies
    rows = parse_nodes(table)
    myself = next((row for row in rows if "myself" in row.flags), None)
    if myself is None:
        return replace(node, trouble="it does not know itself")
    facts = parse_info(state) | parse_info(replication) | parse_info(server)
    primary = facts.get("role") == "master"
    drift = drifted(settings, wanted)
    return replace(
        node,
        trouble=None,
        id=myself.id,
        primary_id=None if "master" in myself.flags else myself.primary_id,
        slots=myself.slots,
        epoch=myself.epoch,
        link_up=facts.get("master_link_status") == "up",
        follows=None if primary else _address(facts),
        working=facts.get("cluster_state") == "ok",
        syncing=facts.get("master_sync_in_progress") == "1",
        offset=int(facts.get("master_repl_offset" if primary else "slave_repl_offset", "0")),
        uptime=int(facts.get("uptime_in_seconds", "0")),
        peers={row.id: row for row in rows if row is not myself},
        drift=drift,
    )


def parse_nodes(text: str) -> list[Peer]:
    """Rows of CLUSTER NODES: ``id ip:port@bus[,host] flags primary ping pong epoch link slots…``.

    Slots on the move (``[93-<-id]``) are left out: the operator never moves single slots.
    """
    rows = []
    for line in text.splitlines():
        fields = line.split()
        if len(fields) < 8:
            continue
        address, _, rest = fields[1].partition(",")
        ip, _, port = address.partition("@")[0].rpartition(":")
        host = rest.split(",")[0]
        rows.append(
            Peer(
                id=fields[0],
                pod=host.split(".")[0] if host and host != "?" else None,
                ip=ip,
                port=int(port or 0),
                flags=frozenset(fields[2].split(",")),
                primary_id=None if fields[3] == "-" else fields[3],
                linked=fields[7] == "connected",
                slots=_slots(fields[8:]),
                epoch=int(fields[6]),
            )
        )
    return rows


def _address(facts: Mapping[str, str]) -> tuple[str, int] | None:
    host, port = facts.get("master_host"), facts.get("master_port", "")
    return (host, int(port)) if host and port.isdigit() else None


def _slots(words: list[str]) -> frozenset[int]:
    slots: set[int] = set()
    for word in words:
        if not word.startswith("["):
            first, _, last = word.partition("-")
            slots.update(range(int(first), int(last or first) + 1))
    return frozenset(slots)


def parse_info(text: str) -> dict[str, str]:
    """``name:value`` lines of INFO."""
    pairs = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {name: value for name, _, value in pairs if name}


def drifted(reply: list[str], wanted: Mapping[str, str]) -> dict[str, str]:
    """Wanted values of the settings whose live value differs (CONFIG GET's flat list)."""
    live = dict(zip(reply[::2], reply[1::2], strict=False))
    return {name: value for name, value in wanted.items() if live.get(name) != value}
