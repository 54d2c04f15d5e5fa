"""The sample manifests are valid, and the full one leaves no field out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from scoreboard_operator.api.scoreboard import ScoreboardSpec

SAMPLES = Path(__file__).parents[4] / "docs/samples"
NAMES = ("demo", "full", "minimal", "one-zone")


def load(name: str) -> dict[str, Any]:
    """The one document of a sample."""
    found: dict[str, Any] = yaml.safe_load((SAMPLES / f"{name}.yaml").read_text())
    return found


def spec(name: str) -> ScoreboardSpec:
    return ScoreboardSpec.model_validate(load(name)["spec"])


def fields(model: type[BaseModel]) -> set[str]:
    """Names, as written in YAML, of all fields of a section and of those below it."""
    found: set[str] = set()
    for name, each in model.model_fields.items():
        found.add(each.alias or name)
        below = [each.annotation, *get_args(each.annotation)]
        for kind in below:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found |= fields(kind)
    return found


def test_no_sample_is_unknown_here() -> None:
    assert sorted(path.stem for path in SAMPLES.glob("*.yaml")) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_sample_is_valid(name: str) -> None:
    document = load(name)
    assert document["apiVersion"] == "scoreboard.dev/v1alpha1"
    assert document["kind"] == "Scoreboard"
    assert document["metadata"]["name"] == name
    spec(name)


def test_full_names_every_field() -> None:
    named = set(re.findall(r"([A-Za-z_]+):", (SAMPLES / "full.yaml").read_text()))
    assert fields(ScoreboardSpec) <= named
    assert len(fields(ScoreboardSpec)) > 40


def test_full_says_the_defaults() -> None:
    said = spec("full").model_dump()
    wanted = ScoreboardSpec().model_dump()
    # What the comments call different.
    said["zones"] = None
    said["gateway"]["service"] = wanted["gateway"]["service"]
    del said["rules"]["actions"]["level_completed"]
    assert said == wanted


def test_minimal_is_empty_and_demo_only_opens_the_gateway() -> None:
    assert load("minimal")["spec"] == {}
    service = {"type": "NodePort", "httpsNodePort": 30443, "httpNodePort": 30080}
    assert load("demo")["spec"] == {"gateway": {"service": service}}
    assert load("demo")["metadata"]["namespace"] == "demo"


def test_one_zone_is_small() -> None:
    small = spec("one-zone")
    assert small.zones == ["zone-a"]
    assert small.database.shards == 1
    mebibytes = re.compile(r"(\d+)Mi")
    sections = [small.database, small.kafka, small.cache, small.gateway, small.services.score]
    sections += [small.services.user, small.services.notification]
    limits = [int(mebibytes.fullmatch(each.resources.memory)[1]) for each in sections]  # type: ignore[index,attr-defined]
    assert sum(limits) < 2048, "the rest of 3 GiB is the cluster itself"
