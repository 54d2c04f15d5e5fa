"""Issue 3, section 4, point 6: both operator replicas die by SIGKILL while a Scoreboard is made.

The one-zone Scoreboard is created, the operators are killed when its database is there and
nothing of it is Ready yet, and it converges all the same.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from e2e.support import cluster, metrics, nodes, solo
from e2e.support.board import BoardHandle
from e2e.support.polling import eventually


@pytest.mark.timeout(480)
def test_killed_in_the_middle_of_creating(
    demo: BoardHandle, clean_solo: None, measured: Callable[[str, float], None]
) -> None:
    """SIGKILL to both replicas in the middle: Ready in the end, and the demo is not disturbed."""
    neighbours = demo.pod_uids()
    solo.clear()
    solo.apply()

    def half_made() -> bool:
        made = [item["metadata"]["name"] for item in solo.SOLO.objects("StatefulSet")]
        assert "solo-db-0-zone-a" in made, made
        return True

    eventually(half_made, "the database of the new Scoreboard is being made", limit=60)
    assert solo.SOLO.conditions().get("Ready", {}).get("status") != "True"
    before = {pod["metadata"]["name"]: _restarts(pod) for pod in metrics.operator_pods()}
    assert len(before) == 2
    for pod in metrics.operator_pods():
        assert nodes.sigkill(pod), f"{pod['metadata']['name']} had no process"

    def died() -> bool:
        for pod in metrics.operator_pods():
            name = pod["metadata"]["name"]
            assert _restarts(pod) > before[name], f"{name} was not restarted"
        return True

    eventually(died, "both operators were killed and started again", limit=90)
    ready = solo.SOLO.wait_ready(limit=300)
    measured("one-zone Scoreboard Ready after both operators were killed", ready.seconds)
    eventually(metrics.leader, "an operator leads again", limit=60)
    player = solo.ensure_ready().gateway.player()
    assert player.add(7)["score"] == 7
    demo.wait_ready()
    assert demo.pod_uids() == neighbours


def _restarts(pod: cluster.Object) -> int:
    return sum(int(s["restartCount"]) for s in pod["status"].get("containerStatuses", []))
