"""A part of a recipe, and which of its fields are the identity of what is made with it.

A field marked `ASIDE` (paths, how often to checkpoint) never enters a fingerprint: what lies at a path enters by its
digest, as an input of the stage. A field that came later declares the value that stands for "as before it existed".
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationInfo, field_validator

from infra.address import require_public_pattern

ASIDE: dict[str, JsonValue] = {"identity": False}
"""json_schema_extra of a field that does not affect the output."""

FILES: dict[str, JsonValue] = {**ASIDE, "files": True}
"""json_schema_extra of a path that may be many files: a folder, a pattern or one file, on any store."""

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**48)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1, strict=False)]


def as_before(value: JsonValue) -> dict[str, JsonValue]:
    """json_schema_extra of a field that is no part of the identity while it has this value.

    With it a field can be added without making what is stored stale: `value` says what was done before.
    """
    return {"as_before": value}


class Section(BaseModel):
    """Base of every part of a recipe: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    @field_validator("*")
    @classmethod
    def _is_public(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a secret in the address of a file: recipes are recorded with what is made of them."""
        marks = cls.model_fields[info.field_name or ""].json_schema_extra
        if isinstance(value, str) and marks in (ASIDE, FILES):
            require_public_pattern(value, "path")
        return value

    def located(self) -> Self:
        """The section with the files named that stand for a path that is null; itself where there are none."""
        return self

    def identity(self) -> dict[str, JsonValue]:
        """The output-affecting fields with defaults filled in: what a fingerprint is made of."""
        found: dict[str, JsonValue] = {}
        for name, field in type(self).model_fields.items():
            marks = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
            if marks in (ASIDE, FILES):
                continue
            value = _identity(getattr(self, name))
            if "as_before" not in marks or value != marks["as_before"]:
                found[name] = value
        return found


def _identity(value: Any) -> JsonValue:
    if isinstance(value, Section):
        return value.identity()
    if isinstance(value, tuple):
        return [_identity(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str))
    return value
