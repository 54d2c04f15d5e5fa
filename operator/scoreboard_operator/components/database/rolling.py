"""Which member may be replaced next (pure).

Replicas first, the least preferred zone first, one zone healthy before the next; a primary is
never replaced while it leads: its leadership moves to an updated replica before.
"""

from __future__ import annotations

from typing import Any

from scoreboard_operator.components.base import Board, Object, Snapshot
from scoreboard_operator.components.build import workload_ready
from scoreboard_operator.components.database import names
from scoreboard_operator.components.database.desired import member_workload, template_hash
from scoreboard_operator.components.database.names import Member
from scoreboard_operator.components.database.observe import MemberState, Observed, ShardState


def hold(board: Board, snapshot: Snapshot, observed: Any, workload: Object) -> str | None:
    """Why the update of a member's StatefulSet waits, or None when it may go ahead."""
    name = workload["metadata"]["name"]
    live = snapshot.get("StatefulSet", name)
    member = next((m for m in names.all_members(board) if m.workload == name), None)
    if live is None or member is None or not isinstance(observed, Observed):
        return None
    if template_hash(live) == template_hash(workload):
        return None  # nothing that restarts the pod
    shard = observed.shards[member.shard]
    state = next(s for s in shard.members if s.member == member)
    if not state.ready:
        return None  # it is down already; the update may be what mends it
    if member == shard.leader and shard.replicas:
        return f"shard {member.shard} is led from here: its leadership moves first"
    return _other_trouble(board, snapshot, observed, member) or _turn(
        board, snapshot, observed, member
    )


def ready_to_move(board: Board, snapshot: Snapshot, shard: ShardState) -> MemberState | None:
    """The replica that should take over before the leader is replaced, when all are up to date.

    The most preferred one, and only once it confirms writes: waiting a moment for that is cheaper
    than a second switchover.
    """
    replicas = shard.replicas
    if any(outdated(board, snapshot, r.member) for r in replicas):
        return None
    if not all(shard.healthy(r) and _current(snapshot, r.member) for r in replicas):
        return None
    target = max(replicas, key=lambda r: r.member.preference, default=None)
    return target if target is not None and target.synchronous else None


def outdated(board: Board, snapshot: Snapshot, member: Member) -> bool:
    """Whether the member's StatefulSet does not have the wanted pod template yet."""
    live = snapshot.get("StatefulSet", member.workload)
    return live is not None and template_hash(live) != template_hash(member_workload(board, member))


def settled(snapshot: Snapshot, observed: Observed) -> bool:
    """Whether every member of every shard is up, streaming and on its newest revision."""
    return all(
        shard.leader is not None
        and all(shard.healthy(m) and _current(snapshot, m.member) for m in shard.members)
        for shard in observed.shards
    )


def _other_trouble(
    board: Board, snapshot: Snapshot, observed: Observed, member: Member
) -> str | None:
    for shard in observed.shards:
        for other in shard.members:
            if other.member == member:
                continue
            same_zone = other.member.zone == member.zone
            if same_zone and shard.index != member.shard:
                continue  # members of one zone are replaced together
            if not (shard.healthy(other) and _current(snapshot, other.member)):
                return f"{other.member.name} in zone {other.member.zone} is not healthy yet"
    return None


def _turn(board: Board, snapshot: Snapshot, observed: Observed, member: Member) -> str | None:
    for shard in observed.shards:
        for other in shard.replicas:
            earlier = other.member.preference < member.preference
            if earlier and outdated(board, snapshot, other.member):
                return f"zone {other.member.zone} first"
    return None


def _current(snapshot: Snapshot, member: Member) -> bool:
    return workload_ready(snapshot.get("StatefulSet", member.workload))
