"""A plan tells what would run and which field is to blame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from flows.algorithms.chain import Given
from flows.recipes import parse_recipe
from flows.run import sources
from infra.artifact import MANIFEST, Artifact, Draft, Folder
from infra.artifact.redo import redo_all, redo_units
from infra.errors import UserError
from infra.recipe import Section, apply_overrides
from infra.upkeep.adding import add
from infra.upkeep.runs import read_ref
from tasks.sections import PairsJob
from tasks.stage import stage_fingerprint
from tasks.stages import STAGES, stage_of
from tests.flows.kitchen import CHAIN, RECIPE, Kitchen


def test_everything_runs_in_an_empty_store(kitchen: Kitchen) -> None:
    lines = kitchen.plan()
    assert {line.state for line in lines.values()} == {"run"}
    assert lines["world"].reason == "first run of this recipe" and lines["world"].fingerprint
    assert lines["reflow-1"].reason.endswith("waits for pairs-1") and lines["reflow-1"].fingerprint is None


def test_a_second_run_is_cached(kitchen: Kitchen) -> None:
    kitchen.run()
    lines = kitchen.plan()
    assert {(line.state, line.reason) for line in lines.values()} == {("cached", "nothing changed")}
    assert isinstance(Artifact.find(kitchen.store, lines["report"].artifact or ""), Artifact)


def test_a_plan_names_the_field_and_both_values(kitchen: Kitchen) -> None:
    kitchen.run()
    lines = kitchen.plan("student_pairs.steps=10", "performance.sample_batch_size=7")
    cached = {name for name, line in lines.items() if line.state == "cached"}
    assert cached == {"world", "prompts", "real", "pairs-1", "reflow-1", "pairs-direct", "direct"}
    assert lines["pairs-student"].reason == "steps: 25 -> 10"
    assert lines["distill"].reason == "waits for pairs-student"


def test_a_picture_that_changes_changes_nothing_for_those_who_read_captions(kitchen: Kitchen, tmp_path: Path) -> None:
    coco = tmp_path / "coco"
    for name in ("annotations/captions_train2017.json", "annotations/captions_val2017.json", "val2017/1.jpg"):
        (coco / name).parent.mkdir(parents=True, exist_ok=True)
        (coco / name).write_text("as it was")
    told = {"name": "test", "world": None, "coco": {"path": str(coco)}, "prompts": {"source": "coco"}}
    recipe = parse_recipe(told, "test")
    kitchen.run(recipe)
    (coco / "val2017" / "1.jpg").write_text("repaired")
    lines = kitchen.plan(recipe=recipe)
    assert lines["prompts"].state == "cached" and lines["prompts"].reason.endswith("; same content")
    assert lines["prompts"].reason.startswith("input coco: ")
    assert {name for name, line in lines.items() if line.state == "run"} == {"real", "evaluate", "report"}
    (coco / "annotations" / "captions_train2017.json").write_text("another caption")
    assert kitchen.plan(recipe=recipe)["prompts"].state == "run"


def test_what_comes_out_the_same_changes_nothing_for_those_who_follow(
    kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch
) -> None:
    kitchen.run()
    before = kitchen.artifact("prompts")
    monkeypatch.setitem(STAGES, "prompts", replace(STAGES["prompts"], version=99))
    assert kitchen.run() == ["prompts"], "its rows are the same, and so all that was made from them"
    assert kitchen.artifact("prompts").base != before.base and kitchen.artifact("prompts").digest == before.digest


SIZED = parse_recipe({"name": "test", "evaluate": {"pictures": {"size": 32}}}, "test")


@pytest.mark.parametrize(
    "change", ["reflow.ema_decay=0.5", "pairs.guidance=3.0", "evaluate.steps=[1]", "evaluate.extras=[kid]", "teacher"]
)
def test_other_models_and_other_numbers_of_them_find_the_real_pictures_seen(
    change: str, kitchen: Kitchen, tmp_path: Path
) -> None:
    kitchen.run(SIZED)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.txt").write_text("another teacher")
    lines = kitchen.plan(f"teacher.path={tmp_path / 'other'}" if change == "teacher" else change, recipe=SIZED)
    assert (lines["real"].state, lines["evaluate"].state) == ("cached", "run")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("evaluate.clip.prompt_prefix=a", "clip.prompt_prefix:  -> a"),
        ("evaluate.num_images=7", "num_images: 1000 -> 7"),
        ("evaluate.real=split", "real: nothing -> split"),
        ("evaluate.pictures.size=16", "pictures.size: 32 -> 16"),
    ],
)
def test_other_judges_look_again(change: str, reason: str, kitchen: Kitchen) -> None:
    kitchen.run(SIZED)
    lines = kitchen.plan(change, recipe=SIZED)
    assert (lines["real"].state, lines["real"].reason) == ("run", reason)
    assert "waits for real" in lines["evaluate"].reason


def test_lists_of_sections_are_compared_item_by_item(kitchen: Kitchen) -> None:
    kitchen.run()
    phases = "[{loss: l2}, {loss: perceptual, steps: 500, batch_size: 32, learning_rate: 1e-4}]"
    assert kitchen.plan(f"distill.phases={phases}")["distill"].reason == "phases.1.steps: 1000 -> 500"


def test_another_teacher_keeps_the_prompts(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "weights.txt").write_text("another teacher")
    lines = kitchen.plan(f"teacher.path={tmp_path / 'other'}")
    assert {name for name, line in lines.items() if line.state == "cached"} == {"world", "prompts"}
    before, after = (Folder.open(tmp_path / name) for name in ("teacher", "other"))
    places = f"{before.uri} ({before.digest[:12]}) -> {after.uri} ({after.digest[:12]})"
    assert lines["pairs-1"].reason == f"input teacher: {places}"


def test_what_changed_where_it_lies_is_named_with_its_place(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    before = Folder.open(tmp_path / "teacher").digest[:12]
    (tmp_path / "teacher" / "weights.txt").write_text("trained on")
    after = Folder.open(tmp_path / "teacher").digest[:12]
    assert kitchen.plan()["pairs-1"].reason == f"input teacher: {tmp_path / 'teacher'}: {before} -> {after}"
    pairs = read_ref(kitchen.store, "test", "pairs-1")
    assert pairs is not None
    kitchen.store.delete(f"{pairs.artifact}/{MANIFEST}")
    reason = kitchen.plan()["pairs-1"].reason
    assert reason == f"input teacher: {before} -> {tmp_path / 'teacher'} ({after})", "where it lay is forgotten"


def test_an_artifact_that_changed_is_named_as_the_store_has_it(kitchen: Kitchen) -> None:
    kitchen.run()
    old = kitchen.artifact("prompts")
    kitchen.run(apply_overrides(RECIPE, ["prompts.seed=5", "name=other"]), until=("prompts",))
    lines = kitchen.plan("prompts.seed=5")
    new = Artifact.find(kitchen.store, lines["prompts"].artifact or "")
    changed = f"{old.base} ({old.digest[:12]}) -> {new.base} ({new.digest[:12]})"
    assert lines["pairs-1"].reason == f"input prompts: {changed}"


def test_a_file_of_weights_that_changed_is_named(kitchen: Kitchen, tmp_path: Path) -> None:
    file = tmp_path / "clip.bin"
    file.write_text("one")
    told = [f"evaluate.clip.weights={file}", "evaluate.clip.architecture=ViT-B-32"]
    kitchen.run(apply_overrides(RECIPE, told))
    before = Folder.open(file).digest[:12]
    file.write_text("another")
    assert f"input clip.weights: {file}: {before} -> {Folder.open(file).digest[:12]}" in (
        kitchen.plan(*told)["evaluate"].reason
    )


def test_a_folder_that_is_added_is_the_same_teacher(kitchen: Kitchen, tmp_path: Path) -> None:
    kitchen.run()
    made, _ = add(kitchen.store, tmp_path / "teacher", "model")
    (tmp_path / "teacher").rename(tmp_path / "gone")
    lines = kitchen.plan(f"teacher.path={made.uri}")
    assert {line.state for line in lines.values()} == {"cached"}
    assert kitchen.run(apply_overrides(RECIPE, [f"teacher.path={made.uri}"])) == []


def _interrupted(kitchen: Kitchen, stage_id: str, config: Section, units: list[str], checkpoints: list[str]) -> None:
    """What a killed run of a stage of `RECIPE` leaves behind, everything before it being there."""
    stage = stage_of(stage_id)
    taken = {
        role: sources.given(one.tree, one.path) if isinstance(one, Given) else kitchen.artifact(one)
        for role, one in CHAIN.nodes[stage_id].inputs.items()
    }
    draft = Draft(kitchen.store, stage.name, stage_fingerprint(stage, config, taken))
    for unit in units:
        (draft.workdir / unit).write_text(unit)
        draft.commit_unit(unit, {f"{unit}.txt": draft.workdir / unit})
    for name in checkpoints:
        kitchen.store.write(f"{draft.base}/checkpoints/{name}", b"{}")


def test_shards_of_an_interrupted_run_are_counted(kitchen: Kitchen) -> None:
    kitchen.run()
    recipe = apply_overrides(RECIPE, ["pairs.shard_size=4000", "prompts.reflow_count=20000"])
    job = PairsJob.of(recipe.pairs, "reflow", recipe.prompts, "fp32")
    _interrupted(kitchen, "pairs-1", job, ["shard-000000", "shard-000003", "index"], [])
    line = kitchen.plan(recipe=recipe)["pairs-1"]
    assert (line.state, line.done, line.total, line.unit) == ("resume", 2, 5, "shards")
    assert line.reason == "shard_size: 512 -> 4000"


def test_steps_of_an_interrupted_training_are_counted_over_its_phases(kitchen: Kitchen) -> None:
    kitchen.run()
    recipe = apply_overrides(RECIPE, ["direct.seed=5"])
    names = ["phase-0-l2/step-00003000", "phase-1-perceptual/step-00000250", "phase-1-perceptual/step-00000500"]
    _interrupted(kitchen, "direct", recipe.direct, [], [f"{name}.json" for name in names])
    line = kitchen.plan(recipe=recipe)["direct"]
    assert (line.state, line.done, line.total, line.unit) == ("resume", 3500, 4000, "steps")


def test_an_earlier_run_lets_expect_time_and_room(kitchen: Kitchen) -> None:
    assert kitchen.plan()["pairs-1"].expected_seconds is None
    kitchen.run()
    ref = read_ref(kitchen.store, "test", "pairs-1")
    assert ref is not None
    manifest = Artifact.find(kitchen.store, ref.artifact).manifest.model_copy(update={"seconds": 100.0, "rows": 10_000})
    kitchen.store.write(f"{ref.artifact}/manifest.json", manifest.to_bytes())
    size = sum(file.bytes for file in manifest.files)
    twice = kitchen.plan("pairs.steps=50")["pairs-1"]
    assert (twice.expected_seconds, twice.expected_bytes) == (400.0, 2 * size), "20,000 prompts, and twice the steps"
    unguided = kitchen.plan("pairs.guidance=1.0", "prompts.reflow_count=5000")["pairs-1"]
    assert (unguided.expected_seconds, unguided.expected_bytes) == (25.0, round(size / 2))
    other = kitchen.plan(recipe=parse_recipe({"name": "other", "pairs": {"seed": 9}}, "x"))["pairs-1"]
    assert other.expected_seconds == 200.0, "a recipe that was never run takes what the store knows"
    assert kitchen.plan()["pairs-1"].expected_seconds is None, "nothing is to be expected of what is cached"


def test_an_earlier_run_with_other_fields_is_passed_over(kitchen: Kitchen) -> None:
    kitchen.run()
    ref = read_ref(kitchen.store, "test", "direct")
    assert ref is not None
    manifest = Artifact.find(kitchen.store, ref.artifact).manifest.model_copy(update={"config": {"epochs": 3}})
    kitchen.store.write(f"{ref.artifact}/manifest.json", manifest.to_bytes())
    assert kitchen.plan("direct.seed=3")["direct"].expected_seconds is None


def test_a_swept_artifact_is_made_again(kitchen: Kitchen) -> None:
    kitchen.run()
    for path in kitchen.store.list("direct"):
        kitchen.store.delete(path)
    line = kitchen.plan()["direct"]
    assert (line.state, line.reason) == ("run", "its artifact is gone from the store")


def test_a_new_version_of_a_stage_is_said(kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch) -> None:
    kitchen.run()
    monkeypatch.setitem(STAGES, "direct", replace(STAGES["direct"], version=99))
    lines = kitchen.plan()
    assert (lines["direct"].state, lines["direct"].reason) == ("run", "the stage has a new version")
    assert (lines["evaluate"].state, lines["evaluate"].reason) == ("run", "waits for direct")


def test_what_is_marked_to_be_redone_says_why(kitchen: Kitchen) -> None:
    kitchen.run()
    made = kitchen.artifact("direct")
    redo_units(kitchen.store, made.base, ["unit-1"], "unit-1 was bent")
    assert kitchen.plan()["direct"].reason == "unit-1 was bent"
    redo_all(kitchen.store, made.base)
    assert kitchen.plan()["direct"].reason == "unit-1 was bent; asked for with --force"


def test_a_damaged_manifest_of_an_earlier_run_says_nothing(kitchen: Kitchen) -> None:
    kitchen.run()
    kitchen.store.write(f"{kitchen.artifact('direct').base}/manifest.json", b"{")
    line = kitchen.plan("direct.seed=3")["direct"]
    assert (line.state, line.reason, line.expected_seconds) == ("run", "seed: 0 -> 3", None)


def test_a_missing_file_is_an_error_whenever_its_stage_would_run(kitchen: Kitchen) -> None:
    with pytest.raises(UserError, match=r"^distill\.perceptual\.trunk_weights: /absent\.pth: no such file or folder"):
        kitchen.plan("distill.perceptual={kind: lpips, trunk_weights: /absent.pth}")
