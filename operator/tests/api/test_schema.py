"""The generated CRD: up to date, structural, complete defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
