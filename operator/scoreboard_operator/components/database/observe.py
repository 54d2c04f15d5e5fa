"""What the shards are really doing: Patroni's records in the snapshot, and each leader's word."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import aiohttp

from scoreboard_operator.components.base import Access, Board, Object, Snapshot
from scoreboard_operator.components.build import pod_ready
from scoreboard_operator.components.database import names, rest, roles
from scoreboard_operator.components.database.names import Member
from scoreboard_operator.components.database.roles import RoleState

# PostgreSQL takes these from the primary's control file: a standby may never have less.
_STANDBY_NEEDS = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)


@dataclass(frozen=True)
class MemberState:
    """One server. ``state`` is Patroni's word (``running``, ``creating replica`` …), "" if none.

    ``streaming`` replicas receive the leader's log now; ``lag_bytes`` is how far behind the
    leader's record theirs is (None: unknown). ``labelled`` is the role label of the pod.
    ``lowers`` marks a waiting restart that lowers a setting standbys must not have less of.
    """

    member: Member
    exists: bool = False
    ready: bool = False
    ready_since: datetime | None = None
    state: str = ""
    labelled: str = ""
    timeline: int | None = None
    lag_bytes: int | None = None
    streaming: bool = False
    synchronous: bool = False
    pending_restart: bool = False
    lowers: bool = False


@dataclass(frozen=True)
class ShardState:
    """One shard. ``leader`` holds Patroni's leader record; ``answered`` says it spoke just now.

    ``changed_at`` is when leadership last moved; ``config`` is Patroni's dynamic configuration.
    """

    index: int
    members: tuple[MemberState, ...]
    leader: Member | None = None
    answered: bool = False
    initialised: bool = False
    timeline: int | None = None
    changed_at: datetime | None = None
    config: dict[str, Any] | None = None
    roles: RoleState = roles.UNKNOWN

    @property
    def leading(self) -> MemberState | None:
        """State of the leader."""
        return next((m for m in self.members if m.member == self.leader), None)

    @property
    def replicas(self) -> list[MemberState]:
        """States of all other members."""
        return [m for m in self.members if m.member != self.leader]

    def healthy(self, member: MemberState) -> bool:
        """Whether a member does its part: ready, and leading or streaming."""
        return member.ready and (member.member == self.leader or member.streaming)


@dataclass(frozen=True)
class Observed:
    """All shards at one moment."""

    shards: tuple[ShardState, ...]
    at: datetime


async def observe(board: Board, snapshot: Snapshot, access: Access) -> Observed:
    """Look at every shard at once. Never raises for members that are down.

    ``access`` is not needed: everything is in the snapshot or asked over the network.
    """
    recorded = [from_records(board, snapshot, shard) for shard in names.shards(board)]
    context = rest.trust(board, snapshot)
    if context is None:
        return Observed(tuple(recorded), datetime.now(UTC))
    async with rest.session(context) as http:
        shards = await asyncio.gather(
            *(_ask(board, snapshot, http, context, shard) for shard in recorded)
        )
    return Observed(tuple(shards), datetime.now(UTC))


def from_records(board: Board, snapshot: Snapshot, shard: int) -> ShardState:
    """What Patroni has written on its ConfigMaps and pods (pure)."""
    leader_notes = _annotations(snapshot.get("ConfigMap", names.leader_map(board, shard)))
    notes = _annotations(snapshot.get("ConfigMap", names.config_map(board, shard)))
    sync = _annotations(snapshot.get("ConfigMap", f"{names.scope(board, shard)}-sync"))
    synchronous = set(sync.get("sync_standby", "").split(","))
    pods = {pod["metadata"]["name"]: pod for pod in snapshot.pods(names.COMPONENT)}
    found = names.members(board, shard)
    leader = next((m for m in found if m.name == leader_notes.get("leader")), None)
    states = [_member(m, pods.get(m.name), m.name in synchronous) for m in found]
    position = _position(pods.get(leader.name)) if leader else None
    history = _json(notes.get("history"), list) or []
    return ShardState(
        index=shard,
        members=tuple(
            replace(state, lag_bytes=_lag(position, _position(pods.get(state.member.name))))
            for state in states
        ),
        leader=leader,
        initialised=bool(notes.get("initialize")),
        timeline=next((s.timeline for s in states if s.member == leader), None),
        changed_at=_changed_at(history, leader_notes),
        config=_json(notes.get("config"), dict),
    )


def with_answer(shard: ShardState, answer: Mapping[str, Any] | None) -> ShardState:
    """Put in what the leader itself says on ``/patroni``, which is fresher than records (pure)."""
    if answer is None or answer.get("role") not in ("primary", "master"):
        return shard
    streams = {
        row.get("application_name"): row.get("state") for row in answer.get("replication") or []
    }
    members = tuple(
        replace(state, streaming=streams.get(state.member.name) == "streaming")
        for state in shard.members
    )
    timeline = answer.get("timeline") or shard.timeline
    return replace(shard, answered=True, members=members, timeline=timeline)


async def _ask(
    board: Board,
    snapshot: Snapshot,
    http: aiohttp.ClientSession,
    context: ssl.SSLContext,
    shard: ShardState,
) -> ShardState:
    leading = shard.leading
    if leading is None or not leading.exists:
        return shard
    host = leading.member.host
    answer, role_state = await asyncio.gather(
        rest.ask(http, host, "/patroni"), _roles(board, snapshot, host, context)
    )
    return replace(with_answer(shard, answer), roles=role_state)


async def _roles(board: Board, snapshot: Snapshot, host: str, context: ssl.SSLContext) -> RoleState:
    wanted = roles.digest(board, snapshot)
    secret = roles.password(board, snapshot, "operator")
    if wanted is None or secret is None:
        return roles.UNKNOWN
    return await roles.check(host, secret, wanted, context)


def _member(member: Member, pod: Object | None, synchronous: bool) -> MemberState:
    if pod is None:
        return MemberState(member)
    notes = _status(pod)
    reasons = notes.get("pending_restart_reason") or {}
    return MemberState(
        member=member,
        exists=True,
        ready=pod_ready(pod),
        ready_since=_ready_since(pod),
        state=str(notes.get("state", "")),
        labelled=pod["metadata"].get("labels", {}).get(names.ROLE_LABEL, ""),
        timeline=notes.get("timeline"),
        streaming=notes.get("replication_state") == "streaming",
        synchronous=synchronous,
        pending_restart=bool(notes.get("pending_restart")),
        lowers=any(_lowered(reasons.get(name)) for name in _STANDBY_NEEDS),
    )


def _lowered(reason: Mapping[str, Any] | None) -> bool:
    if not reason:
        return False
    old, new = str(reason.get("old_value", "")), str(reason.get("new_value", ""))
    return old.isdigit() and new.isdigit() and int(new) < int(old)


def _changed_at(history: list[Any], leader_notes: Mapping[str, str]) -> datetime | None:
    """When the newest timeline began, or else when the leader record was taken."""
    moments = [entry[3] for entry in history[-1:] if isinstance(entry, list) and len(entry) > 3]
    for text in (*moments, leader_notes.get("acquireTime")):
        try:
            moment = datetime.fromisoformat(str(text))
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _ready_since(pod: Object) -> datetime | None:
    for condition in pod.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition.get("lastTransitionTime"):
            return datetime.fromisoformat(str(condition["lastTransitionTime"]))
    return None


def _status(pod: Object | None) -> dict[str, Any]:
    return _json(_annotations(pod).get(names.MEMBER_ANNOTATION), dict) or {}


def _position(pod: Object | None) -> int | None:
    value = _status(pod).get("xlog_location")
    return value if isinstance(value, int) else None


def _lag(leader: int | None, own: int | None) -> int | None:
    return None if leader is None or own is None else max(0, leader - own)


def _annotations(live: Object | None) -> dict[str, str]:
    return (live or {}).get("metadata", {}).get("annotations") or {}


def _json(text: str | None, kind: type[Any]) -> Any:
    """The JSON value of a note when it is of the kind expected, else None."""
    try:
        value = json.loads(text or "null")
    except ValueError:
        return None
    return value if isinstance(value, kind) else None
