"""Ordered operations that are not objects: labels, roles, settings, restarts, switchovers (pure
choice; the bodies talk to Patroni or to the API server).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

from scoreboard_operator.components.base import Access, Board, Snapshot, Step
from scoreboard_operator.components.database import (
    account,
    migrations,
    names,
    patroni,
    rest,
    rolling,
)
from scoreboard_operator.components.database.names import Member
from scoreboard_operator.components.database.observe import MemberState, Observed, ShardState

QUIET = timedelta(minutes=3)
"""Leadership stays where it is for at least this long before it goes back by itself."""

SMALL_LAG_BYTES = 16 * 1024 * 1024

_MOVE_SECONDS = 40.0
_RESTART_SECONDS = 60.0
_MOST_MOVES = 4
"""Switchovers in one pass: each takes some seconds, and a pass should not take minutes."""


def steps(
    board: Board, snapshot: Snapshot, observed: Any, pending: frozenset[str]
) -> Sequence[Step]:
    """What to do now, harmless things first; at most one disturbance per shard."""
    if not isinstance(observed, Observed):
        return ()
    chosen: list[Step] = [*account.renew_tokens(board, snapshot)]
    for shard in observed.shards:
        chosen += _labels(shard)
        chosen += _roles(board, snapshot, shard)
        chosen += _settings(board, shard)
        chosen += _migration(board, snapshot, observed, shard)
    chosen += _disturbing(board, snapshot, observed, pending)
    return chosen


def _labels(shard: ShardState) -> Iterator[Step]:
    """Take the primary's label off a pod that no longer leads.

    Patroni labels only its own pod, so a dead primary keeps the label and the primary Service
    goes on sending it connections (35-60 % failed for 44-50 s, measured).
    """
    if shard.leader is None:
        return
    for state in shard.members:
        if state.labelled == "primary" and state.member != shard.leader:
            pod = state.member.name

            async def run(access: Access, pod: str = pod) -> None:
                await access.patch("Pod", pod, {"metadata": {"labels": {names.ROLE_LABEL: None}}})

            yield Step(f"unlabel-{pod}", f"{shard.leader.name} leads shard {shard.index} now", run)


def _roles(board: Board, snapshot: Snapshot, shard: ShardState) -> Iterator[Step]:
    """Have the primary put roles and passwords right, which it does whenever it reloads."""
    if shard.leader is None or not shard.answered or shard.roles.state != "wrong":
        return
    host = shard.leader.host

    async def run(access: Access) -> None:
        await rest.tell(board, snapshot, host, "/reload", {}, 10.0)

    yield Step(f"roles-{shard.index}", shard.roles.detail, run)


def _settings(board: Board, shard: ShardState) -> Iterator[Step]:
    """Write the shard's dynamic configuration; Patroni takes it over within its loop time."""
    wanted = patroni.dynamic(board)
    if shard.leader is None or shard.config is None or shard.config == wanted:
        return
    name = names.config_map(board, shard.index)

    async def run(access: Access) -> None:
        notes = {"config": patroni.as_text(wanted)}
        await access.patch("ConfigMap", name, {"metadata": {"annotations": notes}})

    changed = ", ".join(_changed(shard.config, wanted)) or "form"
    yield Step(f"settings-{shard.index}", changed, run)


def _migration(
    board: Board, snapshot: Snapshot, observed: Observed, shard: ShardState
) -> Iterator[Step]:
    """Clear a migration that gave up, after a pause, so that the next pass starts it anew."""
    state = migrations.state(board, snapshot, shard.index)
    if state.state != "failed" or state.failed_at is None:
        return
    if observed.at - state.failed_at < migrations.RETRY_AFTER:
        return

    async def run(access: Access) -> None:
        await access.delete("Job", state.job)

    yield Step(f"retry-migration-{shard.index}", state.detail, run)


def _disturbing(
    board: Board, snapshot: Snapshot, observed: Observed, pending: frozenset[str]
) -> list[Step]:
    moves = [
        step for shard in observed.shards for step in _make_way(board, snapshot, shard, pending)
    ]
    if moves:
        return moves[:_MOST_MOVES]
    if pending or not rolling.settled(snapshot, observed):
        return []
    for choose in (_restart, _go_home):
        for shard in observed.shards:
            found = choose(board, snapshot, observed, shard)
            if found is not None:
                return [found]
    return []


def _make_way(
    board: Board, snapshot: Snapshot, shard: ShardState, pending: frozenset[str]
) -> Iterator[Step]:
    """Move leadership off a primary that is to be replaced."""
    if shard.leader is None or shard.leader.workload not in pending:
        return
    target = rolling.ready_to_move(board, snapshot, shard)
    if target is not None:
        yield _switchover(board, snapshot, shard.leader, target.member, "to replace the primary")


def _restart(
    board: Board, snapshot: Snapshot, observed: Observed, shard: ShardState
) -> Step | None:
    """Restart one server whose settings wait for it: replicas first, unless a setting is lowered.

    A standby may not have less than its primary of what :mod:`observe` lists, so what is raised
    goes to the replicas first and what is lowered goes to the primary first.
    """
    waiting = [m for m in shard.members if m.pending_restart]
    if not waiting or shard.leader is None:
        return None
    leading = shard.leading
    replicas = [m for m in waiting if m is not leading]
    leader_waits = leading is not None and leading.pending_restart
    if leader_waits and (any(m.lowers for m in waiting) or len(shard.members) == 1):
        return _restart_of(board, snapshot, shard.leader)
    if replicas:
        return _restart_of(board, snapshot, min(replicas, key=_preference).member)
    target = rolling.ready_to_move(board, snapshot, shard)
    if target is None:
        return None
    return _switchover(board, snapshot, shard.leader, target.member, "to restart the primary")


def _go_home(
    board: Board, snapshot: Snapshot, observed: Observed, shard: ShardState
) -> Step | None:
    """Back to the preferred zone, in a quiet moment."""
    home = max(shard.members, key=_preference)
    if shard.leader is None or home.member == shard.leader or not shard.answered:
        return None
    if shard.changed_at is None or observed.at - shard.changed_at < QUIET:
        return None
    if home.ready_since is None or observed.at - home.ready_since < QUIET / 3:
        return None
    if any(m.lag_bytes is None or m.lag_bytes > SMALL_LAG_BYTES for m in shard.replicas):
        return None
    if not home.synchronous:
        return None
    return _switchover(board, snapshot, shard.leader, home.member, "back to the preferred zone")


def _restart_of(board: Board, snapshot: Snapshot, member: Member) -> Step:
    async def run(access: Access) -> None:
        body = {"restart_pending": True, "timeout": int(_RESTART_SECONDS) - 10}
        await rest.tell(board, snapshot, member.host, "/restart", body, _RESTART_SECONDS)

    detail = "its settings take effect after a restart"
    return Step(f"restart-{member.name}", detail, run, _RESTART_SECONDS)


def _switchover(board: Board, snapshot: Snapshot, old: Member, new: Member, why: str) -> Step:
    async def run(access: Access) -> None:
        body = {"leader": old.name, "candidate": new.name}
        await rest.tell(board, snapshot, old.host, "/switchover", body, _MOVE_SECONDS)

    detail = f"{old.name} to {new.name}, {why}"
    return Step(f"switchover-{old.shard}", detail, run, _MOVE_SECONDS)


def _preference(state: MemberState) -> int:
    return state.member.preference


def _changed(have: dict[str, Any], want: dict[str, Any], path: str = "") -> list[str]:
    """Dotted names of the settings that differ."""
    found = []
    for key in sorted(set(have) | set(want)):
        left, right = have.get(key), want.get(key)
        if isinstance(left, dict) and isinstance(right, dict):
            found += _changed(left, right, f"{path}{key}.")
        elif left != right:
            found.append(f"{path}{key}")
    return found
