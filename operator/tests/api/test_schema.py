"""The generated CRD: up to date, structural, complete defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scoreboard_operator.api.generate import files
from scoreboard_operator.api.schema import definition
from scoreboard_operator.api.scoreboard import ScoreboardSpec

ROOT = Path(__file__).parents[3]


def test_committed_files_are_up_to_date() -> None:
    for path, text in files().items():
        assert (ROOT / path).read_text() == text, f"{path} is stale: run `make generate`"


def _schema() -> dict[str, Any]:
    version = definition()["spec"]["versions"][0]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]
    return schema


def _walk(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += _walk(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += _walk(schema[key], f"{path}[]")
    return found


def test_schema_is_structural() -> None:
    for path, node in _walk(_schema()):
        assert "type" in node, path
        assert not {"$ref", "anyOf", "title"} & set(node), path


def test_every_spec_field_is_described() -> None:
    for path, node in _walk(_schema()["properties"]["spec"]):
        if path and not path.endswith("[]"):
            assert node.get("description"), path


def _defaulted(schema: dict[str, Any], value: Any) -> Any:
    """What the API server's defaulting makes of a value."""
    if schema.get("type") == "object" and isinstance(value, dict):
        filled = dict(value)
        for name, child in schema.get("properties", {}).items():
            if name not in filled and "default" in child:
                filled[name] = child["default"]
            if name in filled:
                filled[name] = _defaulted(child, filled[name])
        extra = schema.get("additionalProperties")
        if isinstance(extra, dict):
            filled = {k: _defaulted(extra, v) for k, v in filled.items()}
        return filled
    return value


def test_api_server_defaults_equal_model_defaults() -> None:
    filled = _defaulted(_schema()["properties"]["spec"], {})
    assert ScoreboardSpec.model_validate(filled) == ScoreboardSpec()


def test_partial_section_keeps_its_own_defaults() -> None:
    spec = _schema()["properties"]["spec"]
    filled = _defaulted(spec, {"database": {"resources": {"cpu": "1"}}})
    assert filled["database"]["resources"]["memory"] == "384Mi"


def test_fields_that_judge_their_former_value_are_never_absent() -> None:
    """The API server skips such a rule when the field is added or removed."""
    for path, node in _walk(_schema()["properties"]["spec"]):
        rules = node.get("x-kubernetes-validations", [])
        if path and any("oldSelf" in rule["rule"] and "has(" not in rule["rule"] for rule in rules):
            assert "default" in node, path


@pytest.mark.parametrize("section", ["database", "kafka"])
def test_a_storage_class_can_be_neither_changed_nor_added_nor_removed(section: str) -> None:
    storage = _schema()["properties"]["spec"]["properties"][section]["properties"]["storage"]
    (rule,) = storage["x-kubernetes-validations"]
    assert rule["rule"] == (
        "has(self.storageClassName) == has(oldSelf.storageClassName)"
        " && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)"
    )
    assert rule["fieldPath"] == ".storageClassName"
    assert "x-kubernetes-validations" not in storage["properties"]["storageClassName"]


def test_rules_name_fields_that_exist() -> None:
    for path, node in _walk(_schema()):
        for rule in node.get("x-kubernetes-validations", []):
            if "fieldPath" in rule:
                assert rule["fieldPath"].removeprefix(".") in node["properties"], path
