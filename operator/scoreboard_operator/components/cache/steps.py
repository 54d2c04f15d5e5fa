"""Turns the planned operations into steps the reconcile loop runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from redis.exceptions import ResponseError

from scoreboard_operator.components.base import Access, Board, Snapshot, Step
from scoreboard_operator.components.cache.client import (
    NodeRefusedError,
    NodeUnreachableError,
    Wire,
    wire,
)
from scoreboard_operator.components.cache.layout import (
    Node,
    Observed,
    in_ranges,
    slots_text,
    workload_name,
)
from scoreboard_operator.components.cache.observe import parse_info, parse_nodes
from scoreboard_operator.components.cache.topology import Operation, Plan, plan

_POLL_SECONDS = 0.1
_MEET_SECONDS = 5.0
_TAKE_OVER_SECONDS = 6.0
"""Redis gives a manual failover five seconds and holds back writes meanwhile."""


def steps(
    board: Board, snapshot: Snapshot, observed: Observed | None, pending: frozenset[str]
) -> Sequence[Step]:
    """The steps towards the wanted layout, in order."""
    connection = wire(board, snapshot) if observed is not None else None
    if observed is None or connection is None or observed.remembered:
        return ()
    held = frozenset(zone for zone in board.zones if workload_name(board, zone) in pending)
    decided = plan(observed, held)
    return steps_of(connection, observed, decided)


def steps_of(connection: Wire, observed: Observed, decided: Plan) -> list[Step]:
    """The operations of a plan as steps; the last introduction waits for all handshakes."""
    meets = tuple(op for op in decided.operations if op.kind == "meet")
    return [
        _step(connection, observed, op, meets if meets and op is meets[-1] else ())
        for op in decided.operations
    ]


def _step(
    connection: Wire, observed: Observed, operation: Operation, meets: tuple[Operation, ...]
) -> Step:
    """One operation as a step; running it twice does no harm."""
    node = observed.nodes[operation.pod]

    async def run(access: Access) -> None:
        try:
            await _ACTIONS[operation.kind](connection, observed, node, operation)
            if meets:
                await _await_handshakes(connection, observed, meets)
        except ResponseError as error:
            raise NodeRefusedError(f"{node.pod} refused {operation.kind}: {error}") from error

    return Step(f"cache-{operation.kind} {operation.pod}", _detail(operation), run)


def _detail(operation: Operation) -> str:
    words = {
        "config": "set " + ", ".join(f"{k}={v}" for k, v in operation.settings.items()),
        "meet": f"introduce {operation.target} to {operation.pod}",
        "forget": f"{operation.pod} forgets node {operation.target[:8]}",
        "addslots": f"give slots {slots_text(operation.slots)} to {operation.pod}",
        "bump": f"renew the claim of {operation.pod}",
        "replicate": f"make {operation.pod} a replica of {operation.target}",
        "takeover": f"{operation.pod} takes over without a vote",
        "force": f"{operation.pod} takes over by vote",
        "failover": f"move the primary role from {operation.target} to {operation.pod}",
    }
    return f"{words[operation.kind]}: {operation.why}"


async def _config(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    pairs = [word for pair in operation.settings.items() for word in pair]
    await wire.command(node, "CONFIG", "SET", *pairs)


async def _meet(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    other = seen.nodes[operation.target]
    # MEET takes addresses only; the table gets the announced host name by gossip.
    await wire.command(node, "CLUSTER", "MEET", other.ip, other.port, other.port + 10000)


async def _await_handshakes(wire: Wire, seen: Observed, meets: Sequence[Operation]) -> None:
    """Wait until all introductions have been answered, so that the next pass builds on them."""

    async def met() -> bool:
        tables = {}
        for pod in {op.pod for op in meets} | {op.target for op in meets}:
            rows = parse_nodes(await wire.command(seen.nodes[pod], "CLUSTER", "NODES"))
            tables[pod] = {row.id for row in rows if "handshake" not in row.flags}
        return all(
            op.target_id in tables[op.pod] and seen.nodes[op.pod].id in tables[op.target]
            for op in meets
        )

    await _until(met, _MEET_SECONDS)


async def _forget(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    try:
        await wire.command(node, "CLUSTER", "FORGET", operation.target)
    except ResponseError as error:
        if "Unknown node" not in str(error):  # gossip was quicker
            raise


async def _add_slots(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    bounds = [bound for pair in in_ranges(operation.slots) for bound in pair]
    await wire.command(node, "CLUSTER", "ADDSLOTSRANGE", *bounds)
    # The newest claim must win against a former owner that returns with an old nodes.conf.
    await _bump(wire, seen, node, operation)


async def _bump(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    """Give a node's claim the highest epoch it knows of, unless it has it."""
    await wire.command(node, "CLUSTER", "BUMPEPOCH")


async def _replicate(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    try:
        await wire.command(node, "CLUSTER", "REPLICATE", operation.target_id)
    except ResponseError as error:
        if "must be empty" not in str(error):
            raise
        # Keys of slots it lost. They are out of everyone's reach, so they may go; the check is
        # made again here, since the plan is some seconds old.
        rows = parse_nodes(await wire.command(node, "CLUSTER", "NODES"))
        if any("myself" in row.flags and row.slots for row in rows):
            raise
        await wire.command(node, "FLUSHALL", "SYNC")
        await wire.command(node, "CLUSTER", "REPLICATE", operation.target_id)


async def _take_over(wire: Wire, seen: Observed, node: Node, operation: Operation) -> None:
    """Make a replica the primary; the variants differ in who has to agree."""
    variant = {"takeover": ("TAKEOVER",), "force": ("FORCE",), "failover": ()}[operation.kind]
    try:
        await wire.command(node, "CLUSTER", "FAILOVER", *variant)
    except ResponseError as error:
        if "should send CLUSTER FAILOVER to a replica" not in str(error):
            raise  # it is a primary already: Redis or an earlier pass was quicker

    async def primary() -> bool:
        info = parse_info(await wire.command(node, "INFO", "replication"))
        return info.get("role") == "master"

    if not await _until(primary, _TAKE_OVER_SECONDS):
        raise NodeRefusedError(f"{node.pod} did not become primary in {_TAKE_OVER_SECONDS:.0f} s")
    # Makes sure that the new claim is the newest (see topology, rule "bump").
    await _bump(wire, seen, node, operation)


async def _until(condition: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Poll until the condition holds; False when time is up or a node went away meanwhile."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        try:
            if await condition():
                return True
        except (NodeUnreachableError, ResponseError):
            return False
        await asyncio.sleep(_POLL_SECONDS)
    return False


_ACTIONS: dict[str, Callable[[Wire, Observed, Node, Operation], Awaitable[None]]] = {
    "config": _config,
    "meet": _meet,
    "forget": _forget,
    "addslots": _add_slots,
    "bump": _bump,
    "replicate": _replicate,
    "takeover": _take_over,
    "force": _take_over,
    "failover": _take_over,
}
