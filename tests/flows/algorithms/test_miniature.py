"""The miniature teacher and CLIPs alone."""

from __future__ import annotations

import pytest

from flows.algorithms.chain import Given
from flows.recipes import chain_of, load_recipe, parse_recipe
from infra.errors import UserError

TRAINED = {
    "train_teacher": {"steps": 3, "warmup_steps": 0},
    "train_clip": {},
    "train_judge": {"vision": "resnet"},
}


def test_they_are_the_chain() -> None:
    chain = chain_of(parse_recipe({"name": "test", "algorithm": "miniature", **TRAINED}, "test"))
    assert {node.id: dict(node.inputs) for node in chain.nodes.values()} == {
        "world": {}, "teacher": {"world": "world"}, "clip": {"world": "world"}, "clip-judge": {"world": "world"},
    }  # fmt: skip
    assert [*chain.given()] == []


def test_the_recipe_of_a_whole_chain_will_do() -> None:
    recipe = load_recipe("weights")
    alone, whole = chain_of(recipe, "miniature"), chain_of(recipe)
    assert [*alone.nodes] == ["world", "teacher", "clip", "clip-judge"]
    assert all(alone.nodes[name] == whole.nodes[name] for name in alone.nodes), "made once, for both"


def test_what_is_given_is_not_made() -> None:
    chain = chain_of(parse_recipe({"name": "test", "algorithm": "miniature"}, "test"))
    assert [*chain.nodes] == ["world"]


def test_it_has_no_other_sections() -> None:
    with pytest.raises(UserError, match=r"here: pairs: unknown key\."):
        parse_recipe({"name": "test", "algorithm": "miniature", "pairs": {}}, "here")


def test_no_model_of_it_is_measured() -> None:
    chain = chain_of(parse_recipe({"name": "test", "algorithm": "miniature", **TRAINED}, "test"))
    assert chain.model("teacher") is None and chain.model("student") is None
    whole = chain_of(parse_recipe({"name": "test"}, "test"))
    assert whole.model("teacher") == Given("model", "mini"), "where it is measured, it is known by its role"
