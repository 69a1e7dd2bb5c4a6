"""A small teacher is two trainings with one warm-up."""

from __future__ import annotations

import pytest

from flows.recipes import parse_recipe
from infra.errors import UserError


@pytest.mark.parametrize("field", ["steps", "autoencoder_steps"])
def test_a_warm_up_longer_than_either_training_is_refused(field: str) -> None:
    expected = rf"^test: train_teacher: warmup_steps 50 is longer than {field} 40: .* Warm up for fewer"
    with pytest.raises(UserError, match=expected):
        parse_recipe({"name": "x", "train_teacher": {"warmup_steps": 50, field: 40}}, "test")
