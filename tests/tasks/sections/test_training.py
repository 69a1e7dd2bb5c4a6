"""A training that would never reach its learning rate is refused."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from flows.recipes import parse_recipe
from infra.errors import UserError


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ({"reflow": {"warmup_steps": 21, "phases": [{"steps": 100}, {"steps": 20}]}}, "phases.1.steps 20"),
        ({"reflow": {"phases": [{"steps": 100}]}}, "phases.0.steps 100"),
        ({"distill": {"warmup_steps": 11, "phases": [{"steps": 10}]}}, "phases.0.steps 10"),
        ({"direct": {"warmup_steps": 11, "phases": [{"steps": 10}]}}, "phases.0.steps 10"),
    ],
)
def test_a_warm_up_longer_than_the_training_is_refused(text: dict[str, JsonValue], field: str) -> None:
    ((section, told),) = text.items()
    steps = told.get("warmup_steps", 200)  # type: ignore[union-attr]
    expected = rf"^test: {section}: warmup_steps {steps} is longer than {field}: .* Warm up for fewer"
    with pytest.raises(UserError, match=expected):
        parse_recipe({"name": "x", **text}, "test")


def test_a_warm_up_may_be_all_of_a_training() -> None:
    recipe = parse_recipe({"name": "x", "reflow": {"warmup_steps": 20, "phases": [{"steps": 20}]}}, "test")
    assert recipe.reflow.phases[0].steps == 20  # type: ignore[attr-defined]
