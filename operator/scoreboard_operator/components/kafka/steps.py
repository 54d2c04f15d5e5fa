"""Writes to Kafka that bring topics, users and permissions to what is wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from scoreboard_operator.components.base import Access, Board, Snapshot, Step
from scoreboard_operator.components.kafka.admin import Client
from scoreboard_operator.components.kafka.observe import client_for
from scoreboard_operator.components.kafka.state import Observed, pending
from scoreboard_operator.components.kafka.topics import Configure, Create, Grow, describe


def steps(
    board: Board, snapshot: Snapshot, observed: Any, pending_workloads: frozenset[str]
) -> Sequence[Step]:
    """The writes of this pass; each is safe to repeat. None while the brokers are silent."""
    if not isinstance(observed, Observed) or observed.problem or observed.remembered:
        return ()
    wanted = pending(board, snapshot, observed)

    def step(name: str, detail: str, write: Callable[[Client], None]) -> Step:
        async def run(access: Access) -> None:
            client = client_for(board, snapshot, observed)
            await asyncio.to_thread(write, client)

        return Step(f"kafka-{name}", detail, run)

    found: list[Step] = []
    if users := wanted.users:
        names = ", ".join(each.user for each in users)
        found.append(step("users", f"set passwords of {names}", lambda c: c.put_users(users)))
    if wanted.acls_to_add or wanted.acls_to_remove:
        parts = [f"allow {acl}" for acl in sorted(wanted.acls_to_add)]
        parts += [f"forbid {acl}" for acl in sorted(wanted.acls_to_remove)]
        found.append(
            step(
                "acls",
                "; ".join(parts),
                lambda c: c.put_acls(wanted.acls_to_add, wanted.acls_to_remove),
            )
        )
    create = [
        change
        for change in wanted.topics
        # Kafka refuses more copies than it has brokers: the topic waits for the last of them.
        if isinstance(change, Create) and len(observed.brokers) >= change.topic.replication_factor
    ]
    if create:
        found.append(step("create", _details(create), lambda c: c.create(create)))
    grow = [change for change in wanted.topics if isinstance(change, Grow)]
    if grow:
        found.append(step("grow", _details(grow), lambda c: c.grow(grow)))
    configure = [change for change in wanted.topics if isinstance(change, Configure)]
    if configure:
        found.append(step("configure", _details(configure), lambda c: c.configure(configure)))
    return found


def _details(changes: Sequence[Create | Grow | Configure]) -> str:
    return "; ".join(describe(change) for change in changes)
