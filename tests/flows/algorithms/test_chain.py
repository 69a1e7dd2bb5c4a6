"""One walk of the algorithm: what plan, selection, diagnosis and run look at."""

from __future__ import annotations

from typing import Any

import pytest

from flows.algorithms.algorithm import Algorithm, Do
from flows.algorithms.chain import Chain, Given
from flows.algorithms.instaflow import Recipe
from flows.recipes import chain_of, load_recipe, parse_recipe
from infra.recipe import Section
from tasks.sections import ReflowJob, World
from tasks.stages import STAGES

CHAIN = chain_of(parse_recipe({"name": "test"}, "test"))
TWICE = chain_of(parse_recipe({"name": "test", "reflow": {"rounds": 2}}, "test"))


class Recorder:
    """A `Do` whose handles are texts, and which notes what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def given(self, tree: str, path: str) -> str:
        self.asked.append(f"{tree} of {path}")
        return f"{tree} of {path}"

    def __call__(self, stage: str, config: Section, /, **inputs: str | None) -> str:
        self.asked.append(stage)
        return f"{stage}({', '.join(f'{role}={made}' for role, made in inputs.items() if made is not None)})"


def test_a_node_knows_its_row() -> None:
    assert TWICE.nodes["pairs-2"].stage is STAGES["pairs"] and TWICE.nodes["pairs-student"].stage is STAGES["pairs"]


def test_a_replay_asks_for_the_same_in_the_same_order() -> None:
    do = Recorder()
    handles = CHAIN.replay(do)
    assert [*handles] == [*CHAIN.nodes] == [one for one in do.asked if " of " not in one]
    ready = ["model of mini", "clip of mini", "clip of mini-judge"]
    assert do.asked[:4] == [*ready, "world"], "what lies ready is looked at first, and once"
    assert handles["pairs-1"] == "pairs-1(teacher=model of mini, prompts=prompts(coco=world()))"
    assert handles["reflow-1"] == f"reflow-1(teacher=model of mini, pairs={handles['pairs-1']})"


def test_a_replay_is_what_the_algorithm_does() -> None:
    assert CHAIN.replay(Recorder())["report"] == CHAIN.algorithm.function(CHAIN.recipe, Recorder())


def test_what_lies_ready_is_told_once() -> None:
    assert [*CHAIN.given()] == [Given("model", "mini"), Given("clip", "mini"), Given("clip", "mini-judge")]


def test_a_teacher_is_one_that_lies_ready() -> None:
    published = {"path": "someone/sd", "revision": "v1", "convention": "paper"}
    told = {"published": {"teacher": published}, "own": {"train_teacher": {}}}
    found = {name: chain_of(parse_recipe({"name": name, **data}, "test")).teacher() for name, data in told.items()}
    assert found["published"] and found["published"].path == "someone/sd" and found["own"] is None
    assert CHAIN.teacher() == CHAIN.recipe.teacher and chain_of(load_recipe("mini-1k")).teacher() is None


def test_ancestors_are_all_that_a_stage_is_made_from() -> None:
    found = CHAIN.ancestors()
    assert [*found] == [*CHAIN.nodes]
    assert found["world"] == frozenset()
    assert found["direct"] == {"world", "prompts", "pairs-1", "pairs-direct"}
    assert found["distill"] == {"world", "prompts", "pairs-1", "reflow-1", "pairs-student"}
    assert found["report"] == CHAIN.nodes.keys() - {"report"}


@pytest.mark.parametrize(
    ("role", "once", "twice"),
    [
        ("teacher", Given("model", "mini"), Given("model", "mini")),
        ("2-rf", "reflow-1", "reflow-2"),
        ("student", "distill", "distill"),
        ("direct", "direct", "direct"),
        ("rectified", None, None),  # the name of an input is not the name of a role
        ("floor", None, None),
        ("nobody", None, None),
    ],
)
def test_a_role_is_the_model_that_is_measured_as_it(
    role: str, once: str | Given | None, twice: str | Given | None
) -> None:
    assert (CHAIN.model(role), TWICE.model(role)) == (once, twice)


def test_a_role_that_is_switched_off_is_no_model() -> None:
    chain = chain_of(parse_recipe({"name": "test", "direct": {"enabled": False}}, "test"))
    assert chain.model("direct") is None and chain.model("student") == "distill"


def test_two_stages_of_one_id_are_a_mistake_of_the_algorithm() -> None:
    def twice(recipe: Any, do: Do[Any]) -> Any:
        do("reflow-1", ReflowJob(), pairs=do("world", World()))
        return do("reflow-1", ReflowJob())

    with pytest.raises(AssertionError, match="two stages of one id: reflow-1"):
        Chain.of(Algorithm("twice", "Nothing of use", Recipe, twice), Recipe(name="x"))
