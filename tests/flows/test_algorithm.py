"""The chain: which stages, in which order, fed by what."""

from __future__ import annotations

from typing import NamedTuple

from flows.algorithm import instaflow, materials
from infra.recipe import Recipe, Section, World, parse_recipe
from tasks.jobs import PairsJob


class Call(NamedTuple):
    """One stage as the algorithm asked for it."""

    config: Section
    inputs: dict[str, str]


class Recorder:
    """A `Do` whose handles are the stages' ids."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    def __call__(self, stage: str, config: Section, /, **inputs: str | None) -> str:
        assert stage not in self.calls
        self.calls[stage] = Call(config, {role: handle for role, handle in inputs.items() if handle is not None})
        return stage

    def given(self, tree: str, path: str) -> str:
        return f"{tree} of {path}"


def _calls(**sections: object) -> dict[str, Call]:
    do = Recorder()
    assert instaflow(parse_recipe({"name": "test", **sections}, "test"), do) == "report"
    return do.calls


def test_the_chain_of_the_paper() -> None:
    calls = _calls()
    assert [*calls] == [
        "world", "prompts", "pairs-1", "reflow-1", "pairs-student", "distill", "direct", "evaluate", "report",
    ]  # fmt: skip
    assert calls["pairs-1"].inputs == {"teacher": "model of mini", "prompts": "prompts"}
    assert calls["reflow-1"].inputs == {"teacher": "model of mini", "pairs": "pairs-1"}
    assert calls["pairs-student"].inputs == {"teacher": "reflow-1", "prompts": "prompts"}
    assert calls["distill"].inputs == {
        "teacher": "reflow-1",
        "pairs": "pairs-student",
        "clip": "clip of mini",
    }
    assert calls["direct"].inputs == {"teacher": "model of mini", "pairs": "pairs-1", "clip": "clip of mini"}
    assert calls["evaluate"].inputs == {
        "coco": "world", "teacher": "model of mini", "rectified": "reflow-1", "student": "distill",
        "direct": "direct", "clip": "clip of mini",
    }  # fmt: skip


def test_every_further_round_solves_the_flow_of_the_last() -> None:
    calls = _calls(reflow={"rounds": 2})
    assert calls["pairs-2"].inputs["teacher"] == "reflow-1"
    assert calls["reflow-2"].inputs == {"teacher": "reflow-1", "pairs": "pairs-2"}
    assert calls["pairs-student"].inputs["teacher"] == "reflow-2"
    first, second = calls["pairs-1"].config, calls["pairs-2"].config
    assert isinstance(first, PairsJob) and isinstance(second, PairsJob)
    assert (first.solver, first.part) == ("dpmsolver++", "reflow")
    assert (second.solver, second.part) == ("euler", "reflow")


def test_one_more_round_leaves_the_first_as_it_was() -> None:
    one, two = _calls(), _calls(reflow={"rounds": 2})
    for stage in ("pairs-1", "reflow-1"):
        assert one[stage].config.identity() == two[stage].config.identity()


def test_what_is_off_is_left_out() -> None:
    calls = _calls(direct={"enabled": False}, distill={"phases": [{"loss": "l2"}]})
    assert "direct" not in calls and "direct" not in calls["evaluate"].inputs
    assert "clip" not in calls["distill"].inputs


def test_teacher_and_clip_are_trained_when_the_recipe_says_so() -> None:
    do = Recorder()
    recipe = Recipe.model_validate({"name": "test", "train_teacher": {}, "train_clip": {}})
    assert materials(recipe, do) == ("world", "teacher", "clip")
    assert isinstance(do.calls["world"].config, World)


def test_a_caption_set_of_ones_own() -> None:
    calls = _calls(world=None, coco={"path": "/data/coco"})
    assert "world" not in calls
    assert calls["evaluate"].inputs["coco"] == "coco of /data/coco"
    assert "/data/coco" not in str(calls["evaluate"].config), "where it lies is no part of what is done"
