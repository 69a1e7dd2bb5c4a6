"""Where a stage is done."""

from __future__ import annotations

import pytest

from flows.recipes import load_recipe, parse_recipe
from infra.errors import UserError
from tasks.sections import Place


def test_nothing_said_is_here_and_alone() -> None:
    assert Place() == Place(pool=None, workers=1, gpus=1)
    with pytest.raises(UserError, match=r"placement\.pairs\.workers: found 0, expected greater than or equal to 1"):
        parse_recipe({"name": "x", "placement": {"pairs": {"workers": 0}}}, "test")


def test_a_recipe_and_what_extends_it_are_merged_place_by_place() -> None:
    both = ["placement.pairs={pool: gpu, workers: 8}", "placement.reflow.pool=gpu"]
    recipe = load_recipe("tiny", both)
    assert recipe.placement == {"pairs": Place(pool="gpu", workers=8), "reflow": Place(pool="gpu")}
    assert hash(recipe) == hash(load_recipe("tiny", both)) != hash(load_recipe("tiny"))
