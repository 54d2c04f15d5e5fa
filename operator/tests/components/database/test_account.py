"""Members older than their ServiceAccount are replaced, and only those."""

from __future__ import annotations

from typing import Any

import pytest
from boards import board, snapshot

from scoreboard_operator.components.database.account import renew_tokens

BOARD = board({"database": {"shards": 1}})


def _live(kind: str, name: str, created: str, **meta: Any) -> dict[str, Any]:
    return {"kind": kind, "metadata": {"name": name, "creationTimestamp": created, **meta}}


def _renewed(account: str, pod: str, **meta: Any) -> list[str]:
    objects = [_live("ServiceAccount", "demo-db", f"2026-01-01T00:00:{account}Z")]
    for zone in BOARD.zones:
        name = f"demo-db-0-{zone}-0"
        objects.append(_live("Pod", name, f"2026-01-01T00:00:{pod}Z", **meta))
    return [step.name for step in renew_tokens(BOARD, snapshot(*objects))]


def test_pods_of_an_older_account_go_all_at_once() -> None:
    assert len(_renewed("30", "10")) == 3


@pytest.mark.parametrize(("account", "pod"), [("10", "10"), ("10", "30")])
def test_pods_that_came_with_or_after_the_account_stay(account: str, pod: str) -> None:
    assert _renewed(account, pod) == []


def test_pods_on_their_way_out_are_left_alone() -> None:
    assert _renewed("30", "10", deletionTimestamp="2026-01-01T00:00:31Z") == []


def test_nothing_happens_without_an_account() -> None:
    assert list(renew_tokens(BOARD, snapshot())) == []
