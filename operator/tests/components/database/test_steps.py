"""Steps and holds chosen for given observations."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from boards import board

from scoreboard_operator.components.base import Board, Step
from scoreboard_operator.components.database import migrations, names, patroni
from scoreboard_operator.components.database.desired import member_workload
from scoreboard_operator.components.database.observe import Observed
from scoreboard_operator.components.database.rolling import hold
from scoreboard_operator.components.database.steps import QUIET, steps

from .model import NOW, Recorder, Running


def chosen(running: Running, *pending: str, observed: Observed | None = None) -> list[Step]:
    seen = observed or running.observed()
    return list(steps(running.board, running.snapshot, seen, frozenset(pending)))


def with_image(old: Board, image: str) -> Board:
    return replace(old, images=replace(old.images, postgres=image))


def holds(running: Running, wanted: Board) -> dict[str, str | None]:
    """Hold of every member whose template differs, as the loop would ask."""
    seen = running.observed()
    return {
        m.workload: hold(wanted, running.snapshot, seen, member_workload(wanted, m))
        for m in names.all_members(wanted)
    }


@pytest.fixture
def running() -> Running:
    return Running(board({"database": {"shards": 2}}))


def test_nothing_to_do_when_all_is_well(running: Running) -> None:
    assert chosen(running) == []


async def test_a_dead_primary_loses_its_label(running: Running) -> None:
    running.down("demo-db-0-zone-a-0")
    running.pod("demo-db-0-zone-b-0", leads=True)
    running.lead(0, "demo-db-0-zone-b-0", since=NOW)
    found = chosen(running)
    assert [s.name for s in found] == ["unlabel-demo-db-0-zone-a-0"]
    access = Recorder()
    await found[0].run(access)
    patch = {"metadata": {"labels": {"scoreboard.dev/role": None}}}
    assert access.calls == [("patch", "Pod", "demo-db-0-zone-a-0", patch)]


def test_labels_wait_for_a_leader_record(running: Running) -> None:
    running.remove("ConfigMap", "demo-db-0-leader")
    assert not [s for s in chosen(running) if s.name.startswith("unlabel")]


async def test_changed_settings_are_written_for_patroni(running: Running) -> None:
    newer = Running(board({"database": {"shards": 2, "maxConnections": 300}}))
    for shard in (0, 1):
        newer.put(running.get("ConfigMap", f"demo-db-{shard}-config"))
    found = chosen(newer)
    assert [(s.name, s.detail) for s in found] == [
        ("settings-0", "postgresql.parameters.max_connections"),
        ("settings-1", "postgresql.parameters.max_connections"),
    ]
    access = Recorder()
    await found[0].run(access)
    _, kind, name, patch = access.calls[0]
    assert (kind, name) == ("ConfigMap", "demo-db-0-config")
    assert patch["metadata"]["annotations"] == {
        "config": patroni.as_text(patroni.dynamic(newer.board))
    }


def test_wrong_roles_ask_the_primary_to_reload(running: Running) -> None:
    found = chosen(running, observed=running.observed(roles="wrong"))
    assert [s.name for s in found] == ["roles-0", "roles-1"]
    assert chosen(running, observed=running.observed(roles="unknown")) == []


@pytest.mark.parametrize(("age", "cleared"), [(30, False), (90, True)])
async def test_a_failed_migration_is_cleared_after_a_pause(
    running: Running, age: int, cleared: bool
) -> None:
    name = migrations.job_name(running.board, 1)
    failed = (NOW - timedelta(seconds=age)).isoformat()
    job = {
        "kind": "Job",
        "metadata": {"name": name},
        "status": {
            "conditions": [{"type": "Failed", "status": "True", "lastTransitionTime": failed}]
        },
    }
    running.put(job)
    found = chosen(running)
    assert bool(found) is cleared
    if cleared:
        access = Recorder()
        await found[0].run(access)
        assert access.calls == [("delete", "Job", name)]


def test_leadership_goes_home_in_a_quiet_moment_one_shard_at_a_time(running: Running) -> None:
    for shard in (0, 1):
        running.pod(f"demo-db-{shard}-zone-a-0")
        running.pod(f"demo-db-{shard}-zone-b-0", leads=True)
        running.lead(shard, f"demo-db-{shard}-zone-b-0", since=NOW - QUIET - timedelta(seconds=5))
    found = chosen(running)
    assert [s.name for s in found] == ["switchover-0"]
    assert "demo-db-0-zone-b-0 to demo-db-0-zone-a-0" in found[0].detail


@pytest.mark.parametrize("spoil", ["recent", "lag", "down", "pending", "unanswered", "rolling"])
def test_leadership_stays_while_it_is_not_quiet(running: Running, spoil: str) -> None:
    since = NOW - timedelta(seconds=30) if spoil == "recent" else NOW - QUIET * 2
    position: Any = {"xlog_location": -(64 * 1024 * 1024)} if spoil == "lag" else {}
    running.pod("demo-db-0-zone-a-0", **position)
    running.pod("demo-db-0-zone-b-0", leads=True)
    running.lead(0, "demo-db-0-zone-b-0", since=since)
    if spoil == "down":
        running.down("demo-db-1-zone-c-0")
    if spoil == "rolling":
        running.get("StatefulSet", "demo-db-1-zone-c")["status"]["observedGeneration"] = 0
    seen = running.observed()
    if spoil == "unanswered":
        seen = replace(seen, shards=tuple(replace(s, answered=False) for s in seen.shards))
    pending = ["demo-db-1-zone-c"] if spoil == "pending" else []
    assert not [s for s in chosen(running, *pending, observed=seen) if "switchover" in s.name]


def test_replicas_are_replaced_first_and_zone_by_zone(running: Running) -> None:
    wanted = with_image(running.board, "scoreboard/postgres:2")
    first = holds(running, wanted)
    assert [w for w, why in first.items() if why is None] == [
        "demo-db-0-zone-c",
        "demo-db-1-zone-c",
    ]
    assert first["demo-db-0-zone-b"] == "zone zone-c first"
    assert first["demo-db-0-zone-a"] == "shard 0 is led from here: its leadership moves first"

    running.update(wanted, "demo-db-0-zone-c", "demo-db-1-zone-c")
    running.down("demo-db-1-zone-c-0")
    second = holds(running, wanted)
    assert second["demo-db-0-zone-b"] == "demo-db-1-zone-c-0 in zone zone-c is not healthy yet"

    running.update(wanted, "demo-db-1-zone-c")
    running.pod("demo-db-1-zone-c-0")
    third = holds(running, wanted)
    assert third["demo-db-0-zone-b"] is None
    assert third["demo-db-1-zone-b"] is None


def test_a_primary_makes_way_once_its_replicas_are_new(running: Running) -> None:
    wanted = with_image(running.board, "scoreboard/postgres:2")
    new = Running(wanted)
    new.update(running.board, "demo-db-0-zone-a", "demo-db-1-zone-a", "demo-db-1-zone-b")
    found = list(steps(wanted, new.snapshot, new.observed(), frozenset({"demo-db-0-zone-a"})))
    assert [s.name for s in found] == ["switchover-0"]
    assert "to demo-db-0-zone-b-0" in found[0].detail
    both = frozenset({"demo-db-0-zone-a", "demo-db-1-zone-a"})
    found = list(steps(wanted, new.snapshot, new.observed(), both))
    assert [s.name for s in found] == ["switchover-0"], "shard 1 has an old replica left"


def test_a_member_that_is_down_may_be_replaced_at_once(running: Running) -> None:
    wanted = with_image(running.board, "scoreboard/postgres:2")
    running.down("demo-db-0-zone-a-0")
    assert holds(running, wanted)["demo-db-0-zone-a"] is None


def test_a_single_zone_is_replaced_without_a_switchover() -> None:
    running = Running(board({"database": {"shards": 1}}, zones=("zone-a",)))
    wanted = with_image(running.board, "scoreboard/postgres:2")
    assert holds(running, wanted) == {"demo-db-0-zone-a": None}


def restart(old: str, new: str) -> dict[str, Any]:
    reasons = {"max_connections": {"old_value": old, "new_value": new}}
    return {"pending_restart": True, "pending_restart_reason": reasons}


def test_raised_settings_restart_the_replicas_first(running: Running) -> None:
    for zone in "abc":
        running.pod(f"demo-db-0-zone-{zone}-0", leads=zone == "a", **restart("100", "200"))
    assert [s.name for s in chosen(running)] == ["restart-demo-db-0-zone-c-0"]
    for zone in "bc":
        running.pod(f"demo-db-0-zone-{zone}-0")
    found = chosen(running)
    assert [s.name for s in found] == ["switchover-0"]
    assert "to restart the primary" in found[0].detail


def test_lowered_settings_restart_the_primary_first(running: Running) -> None:
    for zone in "abc":
        running.pod(f"demo-db-0-zone-{zone}-0", leads=zone == "a", **restart("200", "100"))
    assert [s.name for s in chosen(running)] == ["restart-demo-db-0-zone-a-0"]


def test_a_single_zone_restarts_in_place() -> None:
    running = Running(board({"database": {"shards": 1}}, zones=("zone-a",)))
    running.pod("demo-db-0-zone-a-0", leads=True, **restart("100", "200"))
    assert [s.name for s in chosen(running)] == ["restart-demo-db-0-zone-a-0"]
