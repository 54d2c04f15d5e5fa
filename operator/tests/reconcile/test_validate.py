"""Zones and images: what the cluster has, what was chosen before, what the user must mend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from boards import IMAGES

from scoreboard_operator.components.base import Board, UserError
from scoreboard_operator.reconcile.validate import board_of


def _node(zone: str) -> dict[str, Any]:
    return {"metadata": {"name": zone, "labels": {"topology.kubernetes.io/zone": zone}}}


def _resource(spec: dict[str, Any], **rest: Any) -> dict[str, Any]:
    meta = {"name": "demo", "namespace": "demo", "uid": "u", "generation": 1}
    return {"metadata": meta, "spec": spec, **rest}


def _board(spec: dict[str, Any], zones: str, **rest: Any) -> Board:
    children = rest.pop("children", {})
    nodes = [_node(zone) for zone in zones.split()]
    return board_of(_resource(spec, **rest), nodes, children, IMAGES)


def test_first_three_zones_are_chosen() -> None:
    assert _board({}, "d b a c").zones == ("a", "b", "c")


def test_chosen_zones_stay_when_the_cluster_grows() -> None:
    status = {"zones": [{"name": "b"}, {"name": "c"}, {"name": "d"}]}
    assert _board({}, "a b c d", status=status).zones == ("b", "c", "d")


def test_chosen_zones_are_found_again_when_status_is_lost() -> None:
    children = {
        ("StatefulSet", f"demo-db-0-{zone}"): {
            "metadata": {"labels": {"scoreboard.dev/zone": zone}}
        }
        for zone in "bcd"
    }
    assert _board({}, "a b c d", children=children).zones == ("b", "c", "d")


@pytest.mark.parametrize(
    ("spec", "zones", "reason", "named"),
    [
        ({"zones": ["x"]}, "a b c", "ZoneNotFound", "topology.kubernetes.io/zone=x"),
        ({}, "a b", "TooFewZones", "spec.zones"),
        ({"kafka": {"nope": 1}}, "a b c", "InvalidSpec", "spec.kafka.nope"),
    ],
)
def test_what_users_must_mend(spec: dict[str, Any], zones: str, reason: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        _board(spec, zones)
    assert caught.value.reason == reason
    assert named in caught.value.message


def test_a_zone_whose_node_is_away_is_no_fault_of_the_user() -> None:
    children = {
        ("StatefulSet", "demo-db-0-a"): {"metadata": {"labels": {"scoreboard.dev/zone": "a"}}}
    }
    assert _board({"zones": ["a"]}, "b c", children=children).zones == ("a",)


def test_images_of_the_spec_win() -> None:
    images = _board({"images": {"kafka": "mine:1"}}, "a b c").images
    assert images.kafka == "mine:1"
    assert images.redis == IMAGES.redis


BORN = "2026-11-24T10:00:00Z"
BEFORE = "2026-11-23T10:00:00Z"
AFTER = "2026-11-24T10:00:05Z"


def _kept(shards: Iterable[int], zones: str = "a b c", at: str = BEFORE) -> dict[Any, Any]:
    """Database volumes as they stand in the cache."""
    return {
        ("PersistentVolumeClaim", f"data-demo-db-{shard}-{zone}-0"): {
            "metadata": {
                "creationTimestamp": at,
                "labels": {
                    "app.kubernetes.io/component": "database",
                    "scoreboard.dev/zone": zone,
                    "scoreboard.dev/shard": str(shard),
                },
            }
        }
        for shard in shards
        for zone in zones.split()
    }


def _members(shards: Iterable[int], uid: str = "u") -> dict[Any, Any]:
    return {
        ("StatefulSet", f"demo-db-{shard}-{zone}"): {
            "metadata": {
                "labels": {"scoreboard.dev/zone": zone, "scoreboard.dev/shard": str(shard)},
                "ownerReferences": [{"uid": uid}],
            }
        }
        for shard in shards
        for zone in "abc"
    }


def _judged(spec: dict[str, Any], children: dict[Any, Any]) -> tuple[str, str]:
    """Reason and message, empty when the board is fine."""
    resource = _resource(spec)
    resource["metadata"]["creationTimestamp"] = BORN
    try:
        board_of(resource, [_node(zone) for zone in "abcd"], children, IMAGES)
    except UserError as error:
        return error.reason, error.message
    return "", ""


def _shards(count: int) -> dict[str, Any]:
    return {"database": {"shards": count}}


@pytest.mark.parametrize(
    ("wanted", "children"),
    [
        (4, {}),
        (4, _kept(range(4))),  # applied again as it was
        (4, _members(range(4))),  # no volume yet
        (4, _members(range(4)) | _kept(range(2), at=AFTER)),  # coming up
        (4, _members(range(4)) | _kept(range(2), at=BORN)),  # the same, within the first second
        (4, _kept(range(2), at=AFTER)),  # coming up, StatefulSets deleted by hand or not seen yet
        (4, _kept([0, 1, 3])),  # one shard's volumes deleted: the count is still right
        (8, _kept(range(7))),
        (4, _members(range(4)) | _kept(range(4)) | _kept([0], at=AFTER)),  # one volume anew
    ],
)
def test_volumes_that_fit(wanted: int, children: dict[Any, Any]) -> None:
    assert _judged(_shards(wanted), children) == ("", "")


@pytest.mark.parametrize(
    ("wanted", "children", "there"),
    [
        (2, _kept(range(4)), 4),  # fewer shards than were kept
        (4, _kept(range(2)), 2),  # more of them
        (4, _kept(range(2)) | _members(range(2), uid="former"), 2),  # its sets are still going
        (2, _kept(range(4)) | _members(range(2)), 4),  # never let by, whatever runs
        (1, _kept([3]), 4),
    ],
)
def test_volumes_of_another_number_of_shards(
    wanted: int, children: dict[Any, Any], there: int
) -> None:
    reason, message = _judged(_shards(wanted), children)
    assert reason == "ShardsDiffer"
    assert f"set spec.database.shards to {there}" in message
    assert "kubectl -n demo delete pvc,configmap -l scoreboard.dev/scoreboard=demo" in message


def test_volumes_on_their_way_out_do_not_count() -> None:
    children = _kept(range(4))
    for claim in children.values():
        claim["metadata"]["deletionTimestamp"] = AFTER
    assert _judged(_shards(2), children) == ("", "")


@pytest.mark.parametrize(
    ("zones", "there", "named"),
    [
        (["b", "c", "d"], "a b c", "set spec.zones to [a, b, c]"),
        (["a"], "a b c", "set spec.zones to [a, b, c]"),
        (["a"], "b", "set spec.zones to [b]"),
        (["a", "b", "c"], "c d", "start empty"),
    ],
)
def test_volumes_of_other_zones(zones: list[str], there: str, named: str) -> None:
    reason, message = _judged({"zones": zones}, _kept(range(4), there))
    assert reason == "ZonesDiffer"
    assert named in message


def test_volumes_of_some_of_the_zones_fit() -> None:
    assert _judged({"zones": ["a", "b", "c"]}, _kept(range(4), "b")) == ("", "")
    assert _judged({}, _kept(range(4), "b c d")) == ("", "")
