"""Turns the models into the CustomResourceDefinition in ``crds/``.

The API server wants a *structural* schema: no ``$ref``, no ``anyOf`` with null, defaults that fill
in section by section. ``make generate``
writes the files (:mod:`scoreboard_operator.api.generate`).
"""

from __future__ import annotations

import inspect
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scoreboard_operator.api import GROUP, KIND, PLURAL, VERSION
from scoreboard_operator.api.base import Model
from scoreboard_operator.api.scoreboard import ScoreboardSpec
from scoreboard_operator.api.status import ScoreboardStatus

Schema = dict[str, Any]

NAME_LIMIT = 20
"""Longest name of a Scoreboard: with zone and shard, every derived name stays within 63."""

_ROOT_RULES = (
    {
        "rule": f"size(self.metadata.name) <= {NAME_LIMIT}",
        "message": f"metadata.name must be at most {NAME_LIMIT} characters: other names derive"
        " from it",
    },
    {
        "rule": "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
        "message": "metadata.name must start with a letter and hold only a-z, 0-9 and -",
    },
)

_COLUMNS = (
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status", 0),
    ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason", 0),
    ("Score", "string", ".status.summary.score", 0),
    ("Shards", "string", ".status.summary.shards", 0),
    ("Zones", "string", ".status.summary.zones", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Message", "string", ".status.conditions[?(@.type=='Ready')].message", 1),
)

_KEPT = (
    "type", "format", "pattern", "minimum", "maximum", "minLength", "maxLength", "minItems",
    "maxItems", "minProperties", "maxProperties", "enum", "description", "default",
)  # fmt: skip


def definition() -> Schema:
    """The CustomResourceDefinition as a dictionary."""
    root: Schema = {
        "type": "object",
        "description": inspect.cleandoc(ScoreboardSpec.__doc__ or ""),
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": {**structural(ScoreboardSpec), "default": _plain(ScoreboardSpec())},
            "status": structural(ScoreboardStatus),
        },
        "x-kubernetes-validations": list(_ROOT_RULES),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": KIND,
                "listKind": f"{KIND}List",
                "plural": PLURAL,
                "singular": KIND.lower(),
                "shortNames": ["sb"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path, "priority": priority}
                        for name, kind, path, priority in _COLUMNS
                    ],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def structural(model: type[BaseModel], instance: BaseModel | None = None) -> Schema:
    """Structural schema of a model, nested models inlined.

    ``instance`` is the section's default where it stands: its values become the leaf defaults, so
    that a user who sets one field of a section gets that section's own defaults for the others.
    """
    built: Schema = {"type": "object", "properties": {}}
    if model.__doc__:
        built["description"] = " ".join(inspect.cleandoc(model.__doc__).split())
    generated = model.model_json_schema(by_alias=True, mode="validation")
    definitions = generated.get("$defs", {})
    required = []
    for name, field in model.model_fields.items():
        alias = field.alias or name
        default = getattr(instance, name) if instance else _default_of(field)
        schema = _property(generated["properties"][alias], definitions, field.annotation, default)
        if field.description:
            schema["description"] = field.description
        schema.pop("default", None)
        if field.is_required():
            required.append(alias)
        elif default is not None and issubclass(model, Model):
            schema["default"] = _plain(default)
        built["properties"][alias] = schema
    if required:
        built["required"] = required
    rules = getattr(model, "cel", ())
    if rules:
        built["x-kubernetes-validations"] = [rule.as_schema() for rule in rules]
    return built


def _default_of(field: FieldInfo) -> Any:
    return None if field.is_required() else field.get_default(call_default_factory=True)


def _property(
    generated: Schema, definitions: Schema, annotation: Any, default: Any = None
) -> Schema:
    options = [o for o in generated.get("anyOf", []) if o.get("type") != "null"]
    merged = {**(options[0] if options else {}), **generated}
    if merged.get("default", ...) is None:
        merged.pop("default")
    nested = _nested_model(annotation)
    schema: Schema = {key: merged[key] for key in _KEPT if key in merged}
    if "const" in merged:
        schema["enum"] = [merged["const"]]
    if "$ref" in merged and nested is not None:
        section = default if isinstance(default, nested) else None
        schema = {**structural(nested, section), **schema}
    if merged.get("type") == "array":
        schema["items"] = _property(merged["items"], definitions, annotation)
    if isinstance(merged.get("additionalProperties"), dict):
        schema["additionalProperties"] = _property(
            merged["additionalProperties"], definitions, annotation
        )
    for key, value in merged.items():
        if key.startswith("x-kubernetes-") or (key == "properties" and "$ref" not in merged):
            schema[key] = value
    return schema


def _nested_model(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as ``Topic``, ``list[ZoneRow]`` or ``Topic | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _nested_model(part)
        if found is not None:
            return found
    return None


def _plain(value: Any) -> Any:
    """A default as JSON, in full: the API server judges it by the CEL rules as it stands."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    return value


def render(*, keep: bool = False) -> str:
    """The CRD as YAML; ``keep`` tells Helm never to delete it (with it, all Scoreboards)."""
    note = "# Generated by `make generate` from operator/scoreboard_operator/api; do not edit.\n"
    document = definition()
    if keep:
        document["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    return note + yaml.safe_dump(document, sort_keys=False, width=100)
