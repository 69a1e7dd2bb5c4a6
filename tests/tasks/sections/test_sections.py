"""What holds of every section: what shapes an output is its identity, and every field says what it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.algorithms.instaflow import Recipe
from flows.recipes import parse_recipe
from infra.artifact.fingerprint import canonical_json
from infra.recipe import Section


def kinds(base: type[Section]) -> list[type[Section]]:
    """The sections of the house (tests have their own), however deep they lie below `base`."""
    below = [one for kind in base.__subclasses__() for one in (kind, *kinds(kind))]
    return [*dict.fromkeys(one for one in below if one.__module__.startswith(("tasks.", "flows.")))]


@pytest.mark.parametrize("model", [Section, *kinds(Section)])
def test_every_field_is_documented(model: type[Section]) -> None:
    assert model.__doc__ and model.model_config["frozen"]
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def sections(recipe: Recipe) -> dict[str, Section]:
    found = {name: getattr(recipe, name) for name in type(recipe).model_fields}
    return {name: section for name, section in found.items() if isinstance(section, Section)}


@pytest.mark.parametrize("name", [*sections(Recipe(name="x"))])
def test_defaults_filled_in_are_defaults_left_out(name: str) -> None:
    bare = Recipe(name="x")
    written = parse_recipe({"name": "x", name: sections(bare)[name].model_dump(mode="json")}, "test")
    assert sections(written)[name].identity() == sections(bare)[name].identity()


@given(st.integers(1, 512), st.lists(st.integers(1, 512), min_size=1), st.integers(1, 64), st.text(min_size=1))
def test_where_and_how_fast_do_not_matter(batch: int, batches: list[int], workers: int, pool: str) -> None:
    base = Recipe(name="x")
    fast = {"sample_batch_size": batch, "throughput_batch_sizes": batches}
    other = parse_recipe(
        {
            "name": "y",
            "performance": fast,
            "placement": {"pairs": {"pool": pool, "workers": workers}},
            "budget": {"run": f"{batch}h"},
        },
        "test",
    )
    aside = {"performance", "placement", "budget"}
    mine = {name: section.identity() for name, section in sections(other).items() if name not in aside}
    assert mine == {name: section.identity() for name, section in sections(base).items() if name not in aside}


@given(st.floats(0, 20), st.integers(1, 50), st.sampled_from(["dpmsolver++", "ddim", "euler"]))
def test_what_affects_the_output_matters(guidance: float, steps: int, solver: str) -> None:
    base = Recipe(name="x").pairs
    data = {"guidance": guidance, "steps": steps, "solver": solver}
    other = parse_recipe({"name": "x", "pairs": data}, "test").pairs
    assert (other.identity() == base.identity()) == (other == base)


def test_paths_and_checkpoint_intervals_do_not_matter() -> None:
    data = {
        "teacher": {"path": "/elsewhere"},
        "reflow": {"checkpoint_every_steps": 7},
        "direct": {"enabled": False},
    }
    base, other = Recipe(name="x"), parse_recipe({"name": "x", **data}, "test")
    for name in data:
        assert sections(other)[name] != sections(base)[name]
        assert sections(other)[name].identity() == sections(base)[name].identity()


def test_integers_given_for_floats_are_the_same() -> None:
    whole = parse_recipe({"name": "x", "pairs": {"guidance": 5}}, "test").pairs
    assert canonical_json(whole.identity()) == canonical_json(Recipe(name="x").pairs.identity())
