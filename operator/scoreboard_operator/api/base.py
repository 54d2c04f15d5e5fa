"""Building blocks of the API models: the base class, shared types and CEL rules."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class Rule:
    """One ``x-kubernetes-validations`` entry: a CEL expression and the sentence users read.

    ``message`` names the field and the mend, since ``kubectl apply`` prints it as it stands.
    ``field`` (``.shards``) is the field of the section the rule is about: the API server then
    names that field's full path, and not only the section's.
    """

    def __init__(self, rule: str, message: str, field: str | None = None) -> None:
        self.rule = rule
        self.message = message
        self.field = field

    def as_schema(self) -> dict[str, str]:
        """The entry as it stands in the CRD."""
        path = {} if self.field is None else {"fieldPath": self.field}
        return {"rule": self.rule, "message": self.message, **path}


class Model(BaseModel):
    """Base of every section: camelCase on the wire, unknown fields refused, values frozen."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True
    )

    # CEL rules of the section as a whole; schema.py writes them into the CRD.
    cel: ClassVar[tuple[Rule, ...]] = ()


def described(default: Any, text: str, **limits: Any) -> Any:
    """A field with a default and the sentence the reference prints for it."""
    if callable(default):
        return Field(default_factory=default, description=text, **limits)
    return Field(default=default, description=text, **limits)


def immutable(subject: str) -> dict[str, Any]:
    """Schema extra that refuses a change of the field after creation.

    Only for fields with a default: the API server does not judge a field by its former value when
    it is added or removed. What may be absent takes :func:`immutable_if_set`.
    """
    return {
        "x-kubernetes-validations": [
            {
                "rule": "self == oldSelf",
                "message": f"{subject} is immutable: create a new Scoreboard to change it",
            }
        ]
    }


def immutable_if_set(field: str, message: str) -> Rule:
    """Rule of a section that refuses to change, add or remove one of its optional fields."""
    return Rule(
        f"has(self.{field}) == has(oldSelf.{field})"
        f" && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        message,
        f".{field}",
    )


Quantity = Annotated[
    str,
    Field(
        pattern=r"^([0-9]+(\.[0-9]+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$",
        max_length=20,
    ),
]
"""A Kubernetes quantity, e.g. ``500m`` or ``1Gi``."""


class Resources(Model):
    """CPU and memory of one container."""

    cpu: Quantity = described("50m", "CPU request. No CPU limit is set: throttling costs latency.")
    memory: Quantity = described("128Mi", "Memory request and limit.")
