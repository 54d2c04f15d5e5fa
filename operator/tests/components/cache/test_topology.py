"""The planner: single decisions by example, and convergence from any state by search."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from scoreboard_operator.components.cache.topology import Plan, plan

from .model import Model

PODS = ["a-0", "a-1", "b-0", "b-1", "c-0", "c-1"]


def passes(model: Model, limit: int = 40) -> Plan:
    """Passes and ticks until nothing is left to do, or the limit."""
    last = plan(model.observe())
    for _ in range(limit):
        for operation in last.operations:
            model.run(operation)
        model.tick()
        last = plan(model.observe())
        if not last.operations and not last.waiting:
            break
    return last


def assert_preferred(model: Model) -> None:
    """Every pod has the role the layout wants, and nobody remembers a dead identity."""
    seen = model.observe()
    for place in seen.layout.places:
        node = seen.nodes[place.pod]
        owner = seen.owner(place.part)
        assert owner is not None
        assert owner.pod == seen.layout.of_part(place.part)[0].pod
        assert node.primary_id == (None if place.primary else owner.id)
        assert node.slots == (seen.layout.slots(place.part) if place.primary else frozenset())
        assert set(node.peers) == {n.id for n in seen.nodes.values()} - {node.id}


def formed(zones: int = 3) -> Model:
    """A cluster in its preferred layout."""
    model = Model(zones)
    assert not passes(model).operations
    assert_preferred(model)
    for _ in range(5):
        model.tick()
    return model


def kinds(decision: Plan) -> list[tuple[str, str]]:
    return [(operation.kind, operation.pod) for operation in decision.operations]


def test_forms_from_nothing() -> None:
    formed()


def test_one_zone_is_one_node_with_every_slot() -> None:
    model = formed(1)
    assert plan(model.observe()) == Plan((), ())
    model.delete("a-0")
    assert plan(model.observe()).operations == ()
    model.start("a-0")
    assert kinds(plan(model.observe())) == [("addslots", "a-0")]


def test_a_steady_cluster_needs_nothing() -> None:
    assert plan(formed().observe()) == Plan((), ())


def test_a_lost_primary_is_followed_by_its_replica_and_gets_its_role_back() -> None:
    model = formed()
    model.delete("a-0")
    assert kinds(plan(model.observe())) == [("force", "b-1")]
    for operation in plan(model.observe()).operations:
        model.run(operation)
    model.tick()
    model.start("a-0")
    decision = plan(model.observe())
    assert "meet" in {kind for kind, _ in kinds(decision)}
    assert not any(kind == "addslots" for kind, _ in kinds(decision))
    passes(model)
    assert_preferred(model)


def test_a_crashed_primary_is_left_to_the_election() -> None:
    model = formed()
    model.crash("a-0")
    decision = plan(model.observe())
    assert decision.operations == ()
    assert "Redis is electing b-1" in decision.waiting[0]


def test_two_lost_primaries_are_taken_over_without_a_vote() -> None:
    model = formed()
    model.delete("a-0")
    model.delete("b-0")
    assert sorted(kinds(plan(model.observe()))) == [("takeover", "b-1"), ("takeover", "c-1")]
    model.start("a-0")
    model.start("b-0")
    passes(model)
    assert_preferred(model)


def test_a_primary_hidden_from_the_operator_is_left_alone() -> None:
    model = formed()
    for pod in ("a-0", "b-0"):
        model.hide(pod, True)
    decision = plan(model.observe())
    assert decision.operations == ()
    assert len(decision.waiting) == 2


def test_a_range_whose_two_pods_are_lost_is_formed_anew() -> None:
    model = formed()
    model.delete("a-0")
    model.delete("b-1")
    assert {kind for kind, _ in kinds(plan(model.observe()))} == {"forget"}
    model.start("a-0")
    model.start("b-1")
    passes(model)
    assert_preferred(model)


def test_a_lost_replica_is_replaced_without_touching_primaries() -> None:
    model = formed()
    model.delete("b-1")
    model.start("b-1")
    for _ in range(6):
        decision = plan(model.observe())
        assert {kind for kind, _ in kinds(decision)} <= {"meet", "forget", "replicate"}
        for operation in decision.operations:
            model.run(operation)
        model.tick()
    assert_preferred(model)


def test_a_zone_about_to_restart_gets_no_primary_back() -> None:
    model = formed()
    model.delete("a-0")
    for operation in plan(model.observe()).operations:
        model.run(operation)
    model.start("a-0")
    for _ in range(8):
        decision = plan(model.observe(), frozenset({"a"}))
        assert "failover" not in {kind for kind, _ in kinds(decision)}
        for operation in decision.operations:
            model.run(operation)
        model.tick()
    assert "to be restarted first" in plan(model.observe(), frozenset({"a"})).waiting[0]


pod = st.sampled_from(PODS)
event = st.one_of(
    st.tuples(st.just("delete"), pod),
    st.tuples(st.just("crash"), pod),
    st.tuples(st.just("start"), pod),
    st.tuples(st.just("hide"), pod),
    st.tuples(st.just("show"), pod),
    st.tuples(st.just("tick"), st.integers(1, 3)),
    st.tuples(st.just("pass"), st.integers(0, 40)),
)


@settings(max_examples=250, deadline=None)
@given(new=st.booleans(), script=st.lists(event, max_size=40))
@example(new=True, script=[("pass", 3), ("tick", 1), ("pass", 2), ("delete", "a-0")])
def test_converges_from_any_state_and_loses_nothing(
    new: bool, script: list[tuple[str, str | int]]
) -> None:
    """Faults and passes cut off anywhere, then peace: the preferred layout comes back.

    ``Model.run`` raises when an operation gives away served slots, forgets a living node or
    drops the last copy of a range.
    """
    model = Model() if new else formed()
    for what, value in script:
        if what == "tick":
            for _ in range(int(value)):
                model.tick()
        elif what == "pass":
            for operation in plan(model.observe()).operations[: int(value)]:
                model.run(operation)
        elif what in ("hide", "show"):
            model.hide(str(value), what == "hide")
        else:
            getattr(model, what)(str(value))
    for name in PODS:
        model.start(name)
        model.hide(name, False)
    last = passes(model)
    assert last.operations == ()
    assert_preferred(model)


def test_a_replica_that_looks_at_an_old_address_is_told_again() -> None:
    model = formed()
    seen = model.observe()
    astray = replace(seen.nodes["b-1"], link_up=False, follows=("b-1", 6379))
    decision = plan(replace(seen, nodes={**seen.nodes, "b-1": astray}))
    assert kinds(decision) == [("replicate", "b-1")]
    waiting = replace(astray, follows=("a-0", 6379))
    assert plan(replace(seen, nodes={**seen.nodes, "b-1": waiting})).operations == ()


def test_a_lost_primary_is_not_forgotten_while_its_replica_may_live() -> None:
    model = formed()
    model.delete("a-0")
    model.hide("b-1", True)
    decision = plan(model.observe())
    assert decision.operations == ()
    assert "a replica of the lost a-0 does not answer" in decision.waiting[0]


def test_drifted_settings_are_set_live() -> None:
    seen = formed().observe()
    changed = replace(seen.nodes["c-0"], drift={"maxmemory": "5"})
    decision = plan(replace(seen, nodes={**seen.nodes, "c-0": changed}))
    assert [(op.kind, op.pod, op.settings) for op in decision.operations] == [
        ("config", "c-0", {"maxmemory": "5"})
    ]


def test_a_claim_older_than_what_others_heard_is_renewed() -> None:
    seen = formed().observe()
    owner = seen.nodes["a-0"]
    other = seen.nodes["c-0"]
    row = replace(other.peers[owner.id], epoch=owner.epoch + 1)
    other = replace(other, peers={**other.peers, owner.id: row})
    decision = plan(replace(seen, nodes={**seen.nodes, "c-0": other}))
    assert kinds(decision) == [("bump", "a-0")]
