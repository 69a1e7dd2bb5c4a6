"""A repetition of the whole experiment is one number in the recipe."""

from __future__ import annotations

from flows.algorithms.instaflow import Recipe


def test_one_seed_moves_all_but_the_world() -> None:
    recipe = Recipe(name="x", seed=7)
    moved = recipe.seeded()
    assert moved.pairs.seed == recipe.pairs.seed + 7 and moved.direct.seed == recipe.direct.seed + 7
    assert moved.world == recipe.world and moved.seeded() == moved
    assert Recipe(name="x").seeded() == Recipe(name="x")
