"""What a run may spend: never what is done."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from infra.recipe import ASIDE, Section


def _text(told: object) -> object:
    """A number as YAML has it."""
    return str(told) if isinstance(told, int | float) and not isinstance(told, bool) else told


Amount = Annotated[str, BeforeValidator(_text), Field(pattern=r"^[0-9]+(?:\.[0-9]+)?(?: ?h)?$")]


class Budget(Section):
    """What one run may spend: `40h` of devices' time, or `100` in the site's currency."""

    run: Amount | None = Field(default=None, description="of all its stages together; null: no limit")
    stages: dict[str, Amount] = Field(
        default={}, description="of each stage, by id (`pairs-1`) or name (`pairs`)", json_schema_extra=ASIDE
    )
