"""Zones and images: what the cluster has, what was chosen before, what the user must mend."""

from __future__ import annotations

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
