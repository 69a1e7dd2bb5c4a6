"""A plan tells what would run and which field is to blame."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows import sources
from flows.algorithm import instaflow
from flows.extent import extent
from flows.plan_table import plan_table
from flows.planner import Planned, plan
from flows.stages import stage_of
from infra.artifact import Artifact, Draft, Folder, Source
from infra.recipe import Performance, Recipe, Section, apply_overrides, parse_recipe
from infra.runs import Ref, read_ref, write_ref
from infra.store import Store
from tasks.jobs import EvaluateJob, PairsJob
from tasks.progress import silent
from tasks.stage import run_stage, stage_fingerprint
from tests.flows.small_stages import work

RECIPE = parse_recipe({"name": "test"}, "test")


class InProcess:
    """A `Do` without Prefect: runs the small stages and writes the references."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage: str, config: Section, /, **inputs: Source | None) -> Source:
        taken = {role: source for role, source in inputs.items() if source is not None}
        kind = stage_of(stage)
        made = run_stage(kind.name, kind.version, work, config, taken, self.store, Performance(), silent)
        digests = {role: source.digest for role, source in taken.items()}
        ref = Ref(artifact=made.base, digest=made.digest, config=config.identity(), inputs=digests)
        write_ref(self.store, "test", stage, ref)
        return made


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store in which the recipe has been run."""
    for tree in ("model", "clip"):
        (tmp_path / tree).mkdir()
        (tmp_path / tree / "weights.txt").write_text(tree)
        monkeypatch.setitem(sources._EMBEDDED_FOLDERS, tree, tmp_path / tree)
    return Store.open(tmp_path / "store")


def _plan(store: Store, *overrides: str, recipe: Recipe = RECIPE) -> dict[str, Planned]:
    return {line.id: line for line in plan(apply_overrides(recipe, overrides), store)}


def test_everything_runs_in_an_empty_store(store: Store) -> None:
    lines = _plan(store)
    assert {line.state for line in lines.values()} == {"run"}
    assert lines["world"].reason == "first run of this recipe" and lines["world"].fingerprint
    assert lines["reflow-1"].reason.endswith("waits for pairs-1") and lines["reflow-1"].fingerprint is None


def test_a_second_run_is_cached(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    lines = _plan(store)
    assert {(line.state, line.reason) for line in lines.values()} == {("cached", "nothing changed")}
    assert isinstance(Artifact.find(store, lines["report"].artifact or ""), Artifact)


def test_a_plan_names_the_field_and_both_values(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    lines = _plan(store, "student_pairs.steps=10", "performance.sample_batch_size=7")
    cached = {name for name, line in lines.items() if line.state == "cached"}
    assert cached == {"world", "prompts", "pairs-1", "reflow-1", "direct"}
    assert lines["pairs-student"].reason == "steps: 25 -> 10"
    assert lines["distill"].reason == "waits for pairs-student"


def test_lists_of_sections_are_compared_item_by_item(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    phases = "[{loss: l2}, {loss: perceptual, steps: 5, batch_size: 32, learning_rate: 1e-4}]"
    assert _plan(store, f"distill.phases={phases}")["distill"].reason == "phases.1.steps: 1000 -> 5"


def test_another_teacher_keeps_the_prompts(store: Store, tmp_path: Path) -> None:
    instaflow(RECIPE, InProcess(store))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.txt").write_text("another teacher")
    lines = _plan(store, f"teacher.path={tmp_path / 'other'}")
    assert {name for name, line in lines.items() if line.state == "cached"} == {"world", "prompts"}
    before, after = Folder.open(tmp_path / "model").digest[:12], Folder.open(tmp_path / "other").digest[:12]
    assert lines["pairs-1"].reason == f"input teacher: {before} -> {after}"


def _interrupted(store: Store, stage_id: str, config: Section, units: list[str], checkpoints: list[str]) -> None:
    """What a killed run of a stage of `RECIPE` leaves behind, everything before it being there."""
    lines, inputs = _plan(store), {"pairs-1": ("teacher", "prompts"), "direct": ("teacher", "pairs", "clip")}[stage_id]
    sources_of = {
        "teacher": sources.given("model", "mini"),
        "clip": sources.given("clip", "mini"),
        "prompts": lines["prompts"].artifact,
        "pairs": lines["pairs-1"].artifact,
    }
    taken = {role: Artifact.find(store, at) if isinstance(at := sources_of[role], str) else at for role in inputs}
    kind = stage_of(stage_id)
    draft = Draft(store, kind.name, stage_fingerprint(kind.name, kind.version, config, taken))  # type: ignore[arg-type]
    for unit in units:
        (draft.workdir / unit).write_text(unit)
        draft.commit_unit(unit, {f"{unit}.txt": draft.workdir / unit})
    for name in checkpoints:
        store.write(f"{draft.base}/checkpoints/{name}", b"{}")


def test_shards_of_an_interrupted_run_are_counted(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    recipe = apply_overrides(RECIPE, ["pairs.shard_size=4000", "prompts.reflow_count=20000"])
    job = PairsJob.of(recipe.pairs, "reflow", recipe)
    _interrupted(store, "pairs-1", job, ["shard-000000", "shard-000003", "index"], [])
    line = _plan(store, recipe=recipe)["pairs-1"]
    assert (line.state, line.done, line.total, line.unit) == ("resume", 2, 5, "shards")
    assert line.reason == "shard_size: 512 -> 4000"


def test_steps_of_an_interrupted_training_are_counted_over_its_phases(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    recipe = apply_overrides(RECIPE, ["direct.seed=5"])
    names = ["phase-0-l2/step-00003000", "phase-1-perceptual/step-00000250", "phase-1-perceptual/step-00000500"]
    _interrupted(store, "direct", recipe.direct, [], [f"{name}.json" for name in names])
    line = _plan(store, recipe=recipe)["direct"]
    assert (line.state, line.done, line.total, line.unit) == ("resume", 3500, 4000, "steps")


def test_an_earlier_run_lets_expect_time_and_room(store: Store) -> None:
    assert _plan(store)["pairs-1"].expected_seconds is None
    instaflow(RECIPE, InProcess(store))
    ref = read_ref(store, "test", "pairs-1")
    assert ref is not None
    manifest = Artifact.find(store, ref.artifact).manifest.model_copy(update={"seconds": 100.0, "rows": 10_000})
    store.write(f"{ref.artifact}/manifest.json", manifest.to_bytes())
    size = sum(file.bytes for file in manifest.files)
    twice = _plan(store, "pairs.steps=50")["pairs-1"]
    assert (twice.expected_seconds, twice.expected_bytes) == (400.0, 2 * size), "20,000 prompts, and twice the steps"
    unguided = _plan(store, "pairs.guidance=1.0", "prompts.reflow_count=5000")["pairs-1"]
    assert (unguided.expected_seconds, unguided.expected_bytes) == (25.0, round(size / 2))
    other = _plan(store, recipe=parse_recipe({"name": "other", "pairs": {"seed": 9}}, "x"))["pairs-1"]
    assert other.expected_seconds == 200.0, "a recipe that was never run takes what the store knows"
    assert _plan(store)["pairs-1"].expected_seconds is None, "nothing is to be expected of what is cached"


def test_an_earlier_run_with_other_fields_is_passed_over(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    ref = read_ref(store, "test", "direct")
    assert ref is not None
    manifest = Artifact.find(store, ref.artifact).manifest.model_copy(update={"config": {"epochs": 3}})
    store.write(f"{ref.artifact}/manifest.json", manifest.to_bytes())
    assert _plan(store, "direct.seed=3")["direct"].expected_seconds is None


@pytest.mark.parametrize("disabled", [False, True])
def test_the_units_of_an_evaluation_are_those_it_does(disabled: bool) -> None:
    from tasks.evaluate import Evaluation

    roles = {"student"} if disabled else {"student", "direct"}
    job = EvaluateJob(steps=(1, 4, 25), teacher_steps=8)
    evaluation = Evaluation.__new__(Evaluation)
    evaluation.config, evaluation.inputs = job, dict.fromkeys(roles)  # type: ignore[assignment]
    others = ["coco", "reference", "straightness-teacher", "straightness-2-rf"]
    assert extent(job, roles).total == len(evaluation.cells()) + len(others)
    job = job.model_copy(update={"num_images": 1000, "shard_size": 300})
    assert extent(job, roles).total == 4 * (len(evaluation.cells()) + 2) + 2


def test_the_table_shows_what_json_has(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    stages = plan(apply_overrides(RECIPE, ["student_pairs.seed=7"]), store)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(plan_table(stages))
    text = console.export_text()
    assert "CACHED" in text and "RUN 40 shards" in text and "seed: 1 -> 7" in text
    assert "to do" in text


def test_a_swept_artifact_is_made_again(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    for path in store.list("direct"):
        store.delete(path)
    line = _plan(store)["direct"]
    assert (line.state, line.reason) == ("run", "its artifact is gone from the store")
