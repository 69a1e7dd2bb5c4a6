"""An amount is hours of devices, or money."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from tasks.sections.budget import Budget


@pytest.mark.parametrize(("told", "kept"), [("40h", "40h"), ("1.5 h", "1.5 h"), (100, "100"), (2.5, "2.5")])
def test_an_amount_is_kept_as_it_is_told(told: object, kept: str) -> None:
    assert Budget.model_validate({"run": told, "stages": {"pairs": told}}) == Budget(run=kept, stages={"pairs": kept})


@pytest.mark.parametrize("told", ["", "h", "-1", "2 days", "1e3", True, "100 EUR"])
def test_anything_else_is_refused(told: object) -> None:
    with pytest.raises(ValidationError):
        Budget.model_validate({"run": told})
