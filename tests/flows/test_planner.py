"""A plan tells what would run and which field is to blame."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import sources
from flows.algorithm import instaflow
from flows.planner import Planned, plan
from flows.stages import stage_of
from infra.artifact import Artifact, Draft, Folder, Source
from infra.recipe import Performance, Recipe, Section, apply_overrides, parse_recipe
from infra.runs import Ref, write_ref
from infra.store import Store
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
    sources.given.cache_clear()
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


def test_units_of_an_interrupted_run_are_resumed(store: Store, tmp_path: Path) -> None:
    identity = stage_fingerprint("world", 1, RECIPE.world or pytest.fail("no world"), {})
    (tmp_path / "blob").write_text("a unit")
    Draft(store, "world", identity).commit_unit("unit-0", {"blob.txt": tmp_path / "blob"})
    store.write(f"world/{identity[:16]}/checkpoints/step-00002000-0123456789ab.json", b"{}")
    line = _plan(store)["world"]
    assert line.state == "resume"
    assert line.reason.startswith("1 units are there; there is a checkpoint at step 2000")


def test_a_swept_artifact_is_made_again(store: Store) -> None:
    instaflow(RECIPE, InProcess(store))
    for path in store.list("direct"):
        store.delete(path)
    line = _plan(store)["direct"]
    assert (line.state, line.reason) == ("run", "its artifact is gone from the store")
