"""What an algorithm starts from: made here if the recipe says so, else given."""

from __future__ import annotations

import pytest

from flows.algorithms.chain import Given
from flows.algorithms.instaflow import Recipe
from flows.recipes import chain_of, parse_recipe
from infra.errors import UserError
from tasks.sections import World


def test_teacher_and_clips_are_trained_when_the_recipe_says_so() -> None:
    trained = {"train_teacher": {}, "train_clip": {}, "train_judge": {"vision": "resnet"}}
    nodes = chain_of(Recipe.model_validate({"name": "test", **trained})).nodes
    assert [*nodes][:4] == ["world", "teacher", "clip", "clip-judge"]
    assert isinstance(nodes["world"].config, World)
    assert nodes["teacher"].inputs == nodes["clip"].inputs == nodes["clip-judge"].inputs == {"world": "world"}
    assert nodes["pairs-1"].inputs["teacher"] == "teacher"


def test_what_is_trained_with_does_not_measure() -> None:
    nodes = chain_of(parse_recipe({"name": "test"}, "test")).nodes
    assert nodes["distill"].inputs["clip"] == nodes["direct"].inputs["clip"] == Given("clip", "mini")
    assert nodes["evaluate"].inputs["judge"] == Given("clip", "mini-judge") and "clip" not in nodes["evaluate"].inputs


def test_they_are_given_where_it_does_not() -> None:
    chain = chain_of(parse_recipe({"name": "test", "teacher": {"path": "/models/sd"}}, "test"))
    assert {*chain.given()} == {
        Given("model", "/models/sd"), Given("clip", "mini"), Given("clip", "mini-judge"),
    }  # fmt: skip
    assert "teacher" not in chain.nodes and "clip" not in chain.nodes


def test_a_caption_set_of_ones_own() -> None:
    nodes = chain_of(parse_recipe({"name": "test", "world": None, "coco": {"path": "/data/coco"}}, "test")).nodes
    assert "world" not in nodes
    assert nodes["prompts"].inputs == {"coco": Given("coco", "/data/coco")}
    assert nodes["evaluate"].inputs["coco"] == Given("coco", "/data/coco")
    assert "/data/coco" not in str(nodes["evaluate"].config), "where it lies is no part of what is done"


@pytest.mark.parametrize("algorithm", ["instaflow", "miniature"])
def test_pictures_come_from_somewhere(algorithm: str) -> None:
    with pytest.raises(UserError, match="here: recipe: without `world` the evaluation needs `coco.path`"):
        parse_recipe({"name": "test", "algorithm": algorithm, "world": None}, "here")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        (
            {"coco": {"path": "/data/coco"}},
            r"`coco\.path` \(/data/coco\) has no effect beside `world`: set `world` to null",
        ),
        (
            {"train_teacher": {}, "teacher": {"path": "/models/sd"}},
            r"`teacher\.path` \(/models/sd\) has no effect beside `train_teacher`: set `train_teacher` to null",
        ),
    ],
)
def test_a_path_that_nothing_is_read_from_is_refused(sections: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_recipe({"name": "test", **sections}, "here")


def test_published_weights_are_turned_before_anything_else() -> None:
    teacher = {"path": "/models/instaflow", "convention": "paper"}
    nodes = chain_of(parse_recipe({"name": "test", "teacher": teacher}, "test")).nodes
    assert nodes["adopt"].inputs == {"teacher": Given("model", "/models/instaflow")}
    assert nodes["pairs-1"].inputs["teacher"] == nodes["evaluate"].inputs["teacher"] == "adopt"


@pytest.mark.parametrize("more", [{}, {"train_teacher": {}}])
def test_only_published_weights_are_of_the_papers_convention(more: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r'teacher\.convention "paper" is said of published weights; expected'):
        parse_recipe({"name": "test", "teacher": {"convention": "paper"}, **more}, "here")
