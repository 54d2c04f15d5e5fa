"""Issue 3, section 4, point 5: deleting a Scoreboard removes what it owns and keeps the data.

By default the data volumes and keys stay, and a Scoreboard of the same name finds them. With
deletionPolicy Delete they go too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.support import cluster, solo
from e2e.support.board import BoardHandle
from e2e.support.polling import eventually

SCORE = 321


@pytest.mark.timeout(480)
def test_data_outlives_the_scoreboard(
    demo: BoardHandle, solo_board: BoardHandle, measured: Callable[[str, float], None]
) -> None:
    """Deleted and applied again: nothing owned is left in between; the user and score are there."""
    neighbours = demo.pod_uids()
    player = solo_board.gateway.player("keeper")
    player.add(SCORE)
    volumes = _uids(solo_board, "PersistentVolumeClaim")
    assert len(volumes) >= 2, "a database and a broker have volumes"
    keys = solo_board.secret("jwt-signing")

    measured("Scoreboard deleted", solo.delete())
    gone = eventually(lambda: _nothing_owned(solo_board), "owned objects are gone", limit=120)
    measured("all owned objects gone", gone.seconds)
    assert _uids(solo_board, "PersistentVolumeClaim") == volumes
    assert solo_board.secret("jwt-signing") == keys

    solo.apply()
    measured("one-zone Scoreboard Ready again", solo.SOLO.wait_ready(limit=300).seconds)
    board = solo.ensure_ready()
    assert _uids(board, "PersistentVolumeClaim") == volumes
    # Tokens of before are still good, and so is the password.
    assert player.score()["score"] == SCORE
    player.session = board.gateway.login(player.session.username, player.password)
    assert player.score()["score"] == SCORE
    assert player.add(1)["score"] == SCORE + 1
    row = board.gateway.leaderboard(around=player.id)["entries"][0]
    assert row["user_id"] == player.id
    assert demo.pod_uids() == neighbours


@pytest.mark.timeout(300)
def test_deletion_policy_delete_removes_everything(
    demo: BoardHandle, solo_board: BoardHandle, measured: Callable[[str, float], None]
) -> None:
    """deletionPolicy Delete: volumes, keys and Patroni's records go with the Scoreboard."""
    solo_board.patch({"deletionPolicy": "Delete"})
    measured("Scoreboard deleted with its data", solo.delete(limit=180))

    def nothing_left() -> bool:
        kinds = (*cluster.OWNED_KINDS, "PersistentVolumeClaim")
        left = [f"{kind}/{name}" for kind in kinds for name in _uids(solo_board, kind)]
        assert not left, left
        return True

    eventually(nothing_left, "nothing of the Scoreboard is left", limit=120)
    assert demo.is_ready()


def _uids(board: BoardHandle, kind: str) -> dict[str, str]:
    return {item["metadata"]["name"]: item["metadata"]["uid"] for item in board.objects(kind)}


def _nothing_owned(board: BoardHandle) -> bool:
    """Whether all that is left are things without an owner: keys and Patroni's records."""
    for kind in cluster.OWNED_KINDS:
        owned = [
            item["metadata"]["name"]
            for item in board.objects(kind)
            if item["metadata"].get("ownerReferences")
        ]
        assert not owned, f"{kind}: {owned}"
    assert not board.objects("Pod"), "pods are left"
    return True
