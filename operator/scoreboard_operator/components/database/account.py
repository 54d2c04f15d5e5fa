"""Members whose ServiceAccount was replaced under them (pure choice).

A pod's token names the uid of its ServiceAccount. When that is deleted, the loop makes it again,
but with another uid: the API server refuses the old tokens at once, while the kubelet renews a
token only when most of its hour is over. Until then no Patroni of the board can renew its leader
record, and every primary steps down (seen in the test cluster). Only new pods have new tokens.
"""

from __future__ import annotations

from collections.abc import Iterator

from scoreboard_operator.components.base import Access, Board, Snapshot, Step
from scoreboard_operator.components.database import names


def renew_tokens(board: Board, snapshot: Snapshot) -> Iterator[Step]:
    """Replace every member that is older than its ServiceAccount, all at once.

    Zone by zone would be of no use: not one of them can lead or be promoted.
    """
    account = snapshot.get("ServiceAccount", names.account(board))
    if account is None:
        return
    made = account["metadata"].get("creationTimestamp", "")
    for member in names.all_members(board):
        pod = snapshot.get("Pod", member.name)
        meta = (pod or {}).get("metadata", {})
        # RFC 3339 in UTC and whole seconds, so text compares as time; equal seconds are the
        # ordinary creation, where the account comes first.
        if not meta.get("deletionTimestamp") and "" < meta.get("creationTimestamp", "") < made:
            name = member.name

            async def run(access: Access, name: str = name) -> None:
                await access.delete("Pod", name)

            yield Step(f"renew-token-{name}", "its ServiceAccount was replaced under it", run)
