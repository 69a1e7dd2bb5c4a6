"""A part of the chain: what is run, what has to be there, what is redone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import runner, sources
from flows.algorithm import instaflow
from flows.planner import plan
from flows.runner import LeftOut, recorded
from flows.selection import Choice, require_inputs, select
from flows.stages import stage_of
from infra.artifact import Artifact, Draft, Source
from infra.errors import UserError
from infra.recipe import Performance, Recipe, Section, apply_overrides, parse_recipe
from infra.redo import REDO
from infra.runs import list_runs
from infra.store import Store
from tasks.progress import Progress, silent
from tasks.stage import StageResult, find_cached, run_stage
from tests.flows.small_stages import work

RECIPE = parse_recipe({"name": "test"}, "test")
ALL = ["world", "prompts", "pairs-1", "reflow-1", "pairs-student", "distill", "direct", "evaluate", "report"]


class Kitchen:
    """Stands in for the Prefect flows: does small stages in this process and notes which."""

    def __init__(self, store: Store) -> None:
        self.store, self.done, self.function = store, [], work
        self.done: list[str] = []

    def flow(self, kind: str) -> Callable[..., State]:
        def run(config: Section, inputs: Mapping[str, str], name: str, **_: object) -> State:
            stage = stage_of(name)
            taken = {role: self._open(role, uri) for role, uri in inputs.items()}
            cached = find_cached(stage.name, stage.version, config, taken, self.store)
            if cached is not None:
                return Completed(name="Cached", data=cached.uri)
            self.done.append(name)
            arguments = (stage.version, self.function, config, taken, self.store, Performance(), silent)
            return Completed(data=run_stage(stage.name, *arguments).uri)

        return run

    def _open(self, role: str, uri: str) -> Source:
        return sources.open_input(self.store, role, uri)

    def run(self, recipe: Recipe = RECIPE, **choice: tuple[str, ...]) -> list[str]:
        """The stages that a run did."""
        self.done = []
        with recorded(recipe, self.store, Choice(**choice)) as do:
            instaflow(recipe, do)
        return self.done


@pytest.fixture
def kitchen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    for tree in ("model", "clip"):
        (tmp_path / tree).mkdir()
        (tmp_path / tree / "weights.txt").write_text(tree)
        monkeypatch.setitem(sources._EMBEDDED_FOLDERS, tree, tmp_path / tree)
    kitchen = Kitchen(Store.open(tmp_path / "store"))
    monkeypatch.setattr(runner, "STAGE_FLOWS", {name: kitchen.flow(name) for name in runner.STAGE_FLOWS})
    return kitchen


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(), ALL),
        (Choice(only=("pairs", "reflow")), ["pairs-1", "reflow-1", "pairs-student"]),
        (Choice(only=("pairs-1",)), ["pairs-1"]),
        (Choice(until=("pairs-1",)), ["world", "prompts", "pairs-1"]),
        (Choice(until=("direct",)), ["world", "prompts", "pairs-1", "direct"]),
        (Choice(until=("pairs",)), ["world", "prompts", "pairs-1", "reflow-1", "pairs-student"]),
        (Choice(start=("reflow",)), ["reflow-1", "pairs-student", "distill", "direct", "evaluate", "report"]),
        (Choice(start=("pairs",)), [one for one in ALL if one not in ("world", "prompts")]),
        (Choice(start=("reflow",), until=("distill",)), ["reflow-1", "pairs-student", "distill"]),
        (Choice(start=("world",)), ALL),
    ],
)
def test_what_is_chosen(choice: Choice, expected: list[str]) -> None:
    selection = select(RECIPE, choice)
    assert [stage for stage in ALL if stage in selection.run] == expected
    assert selection.force == frozenset()


def test_what_is_forced() -> None:
    assert select(RECIPE, Choice(force=("pairs",))).force == {"pairs-1", "pairs-student"}


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(only=("reflwo",)), "--only reflwo: this recipe has no such stage.*Did you mean reflow"),
        (Choice(start=("teacher",)), "--from teacher: this recipe has no such stage; expected world, prompts, pairs-1"),
        (Choice(only=("pairs",), until=("world",)), "no stage is in all of them"),
        (Choice(only=("pairs",), force=("distill",)), "--force: distill is left out of this run"),
    ],
)
def test_a_choice_that_cannot_be(choice: Choice, message: str) -> None:
    with pytest.raises(UserError, match=message):
        select(RECIPE, choice)


def test_a_part_is_run_and_the_rest_later(kitchen: Kitchen) -> None:
    assert kitchen.run(until=("pairs-1",)) == ["world", "prompts", "pairs-1"]
    assert kitchen.run(only=("reflow",)) == ["reflow-1"]
    states = {stage.stage: stage.state for stage in list_runs(kitchen.store)[-1].stages}
    assert states == {"world": "cached", "prompts": "cached", "pairs-1": "cached", "reflow-1": "done"}
    assert kitchen.run(start=("reflow",)) == ["pairs-student", "distill", "direct", "evaluate", "report"]
    assert kitchen.run() == []
    assert {line.state for line in plan(RECIPE, kitchen.store)} == {"cached"}


def test_what_lies_after_the_chosen_part_is_not_missed(kitchen: Kitchen) -> None:
    with recorded(RECIPE, kitchen.store, Choice(until=("world",))) as do:
        report = instaflow(RECIPE, do)
    assert isinstance(report, LeftOut) and "prompts" in report.stage_ids


def test_a_missing_stage_is_named_before_anything_runs(kitchen: Kitchen) -> None:
    choice = Choice(only=("distill", "world"))
    with pytest.raises(UserError) as caught:
        require_inputs(RECIPE, kitchen.store, select(RECIPE, Choice(only=("prompts",))))
    assert "stage prompts needs world, which is left out of this run and not in" in str(caught.value)
    assert "instaflow run test --until world" in str(caught.value)
    kitchen.run(until=("prompts",))
    with pytest.raises(UserError, match="stage distill needs pairs-1"):
        require_inputs(RECIPE, kitchen.store, select(RECIPE, choice))
    kitchen.run()
    require_inputs(RECIPE, kitchen.store, select(RECIPE, choice))


def test_a_left_out_stage_below_a_changed_one_is_found_in_its_turn(kitchen: Kitchen) -> None:
    kitchen.run()
    changed = apply_overrides(RECIPE, ["reflow.steps=7"])
    choice = {"only": ("reflow", "evaluate")}
    require_inputs(changed, kitchen.store, select(changed, Choice(**choice)))
    with pytest.raises(UserError, match="stage evaluate needs distill, .*pairs-student|evaluate needs pairs-student"):
        kitchen.run(changed, **choice)
    assert kitchen.done == ["reflow-1"]
    assert list_runs(kitchen.store)[-1].state == "failed"


def test_a_forced_stage_is_redone_and_what_follows_is_still_good(kitchen: Kitchen) -> None:
    kitchen.run()
    before = {line.id: line.artifact for line in plan(RECIPE, kitchen.store)}
    assert kitchen.run(force=("reflow", "world")) == ["world", "reflow-1"]
    assert {line.id: line.artifact for line in plan(RECIPE, kitchen.store)} == before


def test_a_forced_stage_with_another_outcome_redoes_what_follows(kitchen: Kitchen) -> None:
    kitchen.run()

    def otherwise(
        config: Section, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
    ) -> StageResult:
        (out.workdir / "other.txt").write_text("other bytes")
        out.commit_unit("unit-0", {"other.txt": out.workdir / "other.txt"}, rows=1)
        return StageResult()

    kitchen.function = otherwise
    assert kitchen.run(force=("distill",), until=("distill",)) == ["distill"]
    kitchen.function = work
    assert kitchen.run() == ["evaluate", "report"]


def test_a_forced_stage_that_is_stopped_goes_on_and_keeps_the_old_one(kitchen: Kitchen) -> None:
    kitchen.run()
    base = next(line.artifact for line in plan(RECIPE, kitchen.store) if line.id == "direct") or ""
    old = Artifact.find(kitchen.store, base)
    calls: list[int] = []

    def stopped(
        config: Section, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
    ) -> StageResult:
        calls.append(len(out.units()))

        def die(done: int, total: int, unit: str) -> None:
            if len(calls) == 1 and done == 2:
                raise KeyboardInterrupt

        return work(config, inputs, out, perf, die)

    kitchen.function = stopped
    with pytest.raises(KeyboardInterrupt):
        kitchen.run(force=("direct",))
    assert Artifact.find(kitchen.store, base).manifest == old.manifest
    assert old.fetch(old.files("part-2.txt")[0]).exists(), "the old files too"
    assert kitchen.run(force=("direct",)) == ["direct"]
    assert calls == [0, 2], "the second demand goes on where the first was stopped"
    assert not kitchen.store.exists(f"{old.base}/{REDO}")
    new = Artifact.find(kitchen.store, base)
    assert new.digest == old.digest and new.manifest.finished_at > old.manifest.finished_at


def test_a_lost_file_is_made_again_and_nothing_else(kitchen: Kitchen) -> None:
    kitchen.run()
    lines = {line.id: line.artifact for line in plan(RECIPE, kitchen.store)}
    pairs = Artifact.find(kitchen.store, lines["pairs-1"] or "")
    kitchen.store.delete(f"{pairs.base}/{pairs.files('part-1.txt')[0].path}")
    line = next(line for line in plan(RECIPE, kitchen.store) if line.id == "pairs-1")
    assert line.state == "resume" and "is missing" in line.reason
    with pytest.raises(UserError, match="stage reflow-1 needs pairs-1"):
        kitchen.run(only=("reflow",))
    assert kitchen.run() == ["pairs-1"]
    assert Artifact.find(kitchen.store, pairs.uri).digest == pairs.digest
