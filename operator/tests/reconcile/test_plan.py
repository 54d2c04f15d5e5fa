"""Planning: creation gates, zone order, prune, drift."""

from __future__ import annotations

from typing import Any

from boards import ZONES, board, live_workload, snapshot

from scoreboard_operator.components.base import (
    Board,
    Component,
    ComponentStatus,
    Object,
    Snapshot,
    UserError,
)
from scoreboard_operator.components.build import deployment, labels, metadata, selector, service
from scoreboard_operator.reconcile.plan import Plan, make_plan, owned


def _objects(the_board: Board, image: str) -> list[Object]:
    built: list[Object] = []
    for zone in the_board.zones:
        label_set = labels(the_board, "score", "score", version="1", zone=zone)
        chosen = selector(the_board, "score", zone=zone)
        pod = {"containers": [{"name": "score", "image": image}]}
        meta = metadata(the_board, f"demo-score-{zone}", label_set)
        built.append(deployment(meta, chosen, label_set, pod, replicas=1))
    label_set = labels(the_board, "score", "score", version="1")
    meta = metadata(the_board, "demo-score", label_set)
    built.append(service(meta, selector(the_board, "score"), {"https": 8443}))
    return built


def _component(image: str = "v1", **changes: Any) -> Component:
    fields: dict[str, Any] = {
        "name": "score",
        "condition": "ScoreServiceReady",
        "desired": lambda b, s: _objects(b, image),
        "status": lambda b, s, o: ComponentStatus(True, "Ready", ""),
    }
    return Component(**{**fields, **changes})


def _plan(component: Component, live: Snapshot, true: frozenset[str] = frozenset()) -> Plan:
    return make_plan(board(), live, [component], {}, true)


def _running(image: str = "v1", unready: tuple[str, ...] = ()) -> list[Object]:
    found = []
    for item in _objects(board(), image):
        stamped = owned(board(), item)
        if stamped["kind"] == "Deployment":
            stamped = live_workload(stamped, ready=stamped["metadata"]["name"] not in unready)
        found.append(stamped)
    return found


def _titles(plan: Plan) -> list[str]:
    return [change.title for change in plan.parts[0].changes]


def test_everything_is_created_at_once_services_first() -> None:
    assert _titles(_plan(_component(), snapshot())) == [
        "Service/demo-score",
        *(f"Deployment/demo-score-{zone}" for zone in ZONES),
    ]


def test_a_settled_board_needs_nothing() -> None:
    plan = _plan(_component(), snapshot(*_running()))
    assert plan.lines() == []


def test_nothing_is_created_before_its_dependencies_hold() -> None:
    gated = _component(after=("DatabaseReady",))
    plan = _plan(gated, snapshot())
    assert plan.parts[0].blocked == "waiting for DatabaseReady"
    assert not plan.parts[0].changes
    assert len(_titles(_plan(gated, snapshot(), frozenset({"DatabaseReady"})))) == 4


def test_a_deleted_workload_comes_back_even_while_a_dependency_is_degraded() -> None:
    running = [o for o in _running() if o["metadata"]["name"] != "demo-score-zone-b"]
    plan = _plan(_component(after=("DatabaseReady",)), snapshot(*running))
    assert _titles(plan) == ["Deployment/demo-score-zone-b"]


def test_updates_go_zone_by_zone() -> None:
    plan = _plan(_component("v2"), snapshot(*_running("v1")))
    assert _titles(plan) == ["Deployment/demo-score-zone-a"]
    assert set(plan.parts[0].held) == {"demo-score-zone-b", "demo-score-zone-c"}


def test_the_next_zone_waits_until_the_one_before_is_ready() -> None:
    live = _running("v1")
    live[0] = live_workload(owned(board(), _objects(board(), "v2")[0]), ready=False)
    plan = _plan(_component("v2"), snapshot(*live))
    assert _titles(plan) == []
    live[0] = live_workload(live[0], ready=True)
    assert _titles(_plan(_component("v2"), snapshot(*live))) == ["Deployment/demo-score-zone-b"]


def test_a_broken_first_zone_can_still_be_mended() -> None:
    live = _running("v1", unready=("demo-score-zone-a",))
    assert _titles(_plan(_component("v2"), snapshot(*live))) == ["Deployment/demo-score-zone-a"]


def test_scaling_and_mending_do_not_wait_for_another_zone() -> None:
    live = _running("v1", unready=("demo-score-zone-a",))
    live[2]["spec"]["replicas"] = 0
    assert _titles(_plan(_component("v1"), snapshot(*live))) == ["Deployment/demo-score-zone-c"]


def test_a_crash_of_one_component_is_its_own() -> None:
    def crash(*_: Any) -> list[Object]:
        raise ValueError("no JSON")

    broken = _component(name="broken", desired=crash)
    plan = make_plan(board(), snapshot(), [broken, _component()], {}, frozenset())
    assert isinstance(plan.parts[0].crash, ValueError)
    assert len(plan.parts[1].changes) == 4
    assert plan.prune == ()


def _secret(*_: Any) -> list[Object]:
    label_set = labels(board(), "certificates", "certificates", version="1")
    meta = metadata(board(), "demo-keys", label_set, {"scoreboard.dev/retain": "true"})
    return [{"apiVersion": "v1", "kind": "Secret", "metadata": meta, "data": {"k": "dg=="}}]


def test_generated_secrets_are_only_ever_created() -> None:
    component = _component(desired=_secret)
    (change,) = _plan(component, snapshot()).parts[0].changes
    assert change.create
    known = Snapshot(other_secrets={"demo-keys": {"data": {"k": "dg=="}}})
    (change,) = _plan(component, known).parts[0].changes
    assert not change.create


def test_hand_edits_are_named_in_the_plan() -> None:
    live = _running()
    live[-1]["spec"]["ports"][0]["port"] = 1234
    plan = _plan(_component(), snapshot(*live))
    assert "spec.ports" in plan.lines()[0]


def test_owned_leftovers_are_pruned_and_foreign_ones_are_not() -> None:
    live = _running()
    leftover = owned(board(), {**live[-1], "metadata": {**live[-1]["metadata"], "name": "old"}})
    foreign = {**leftover, "metadata": {**leftover["metadata"], "name": "theirs"}}
    foreign["metadata"]["ownerReferences"] = [{"uid": "another", "controller": True}]
    plan = _plan(_component(), snapshot(*live, leftover, foreign))
    assert [o["metadata"]["name"] for o in plan.prune] == ["old"]


def test_nothing_is_pruned_while_a_component_cannot_say_what_it_wants() -> None:
    def refuse(*_: Any) -> list[Object]:
        raise UserError("SecretNotFound", "spec.gateway.tls.secretName")

    plan = _plan(_component(desired=refuse), snapshot(*_running()))
    assert plan.prune == ()
    assert plan.parts[0].error is not None
