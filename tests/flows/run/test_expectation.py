"""How much of a stage is done, and what the rest may take."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import JsonValue

from flows.run.expectation import done, expected
from infra.artifact import Draft
from infra.artifact.manifest import Manifest
from infra.environment import utc_now
from infra.recipe import Section
from infra.store import Store, open_store
from tasks.evaluate.cells import cells
from tasks.sections import Distill, DistillPhase, EvaluateJob, PairsJob, ReflowJob, ReflowPhase, TrainTeacher, World
from tasks.stages import STAGES, Extent


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def _extent(stage: str, config: Section) -> Extent:
    return STAGES[stage].extent(config, ())


def _made(store: Store, stage: str, config: Section, seconds: float, rows: int = 0, **metrics: JsonValue) -> Manifest:
    """What a finished stage says; it took so long and left 40 bytes."""
    with Draft(store, stage, "0" * 64) as draft:
        (draft.workdir / "all").write_bytes(b"x" * 40)
        draft.commit_unit("all", {"all": draft.workdir / "all"}, rows=rows, seconds=seconds)
        return draft.finish(["all"], 1, config.model_dump(mode="json"), {}, metrics, {}, utc_now()).manifest


def test_time_goes_with_cost_and_room_with_volume(store: Store) -> None:
    earlier = _made(store, "world", World(train_images=10, val_images=10), seconds=5.0)
    found = expected(_extent("world", World(train_images=0, val_images=60)), earlier)
    assert found is not None and (found.seconds, found.bytes) == (15.0, 120)


def _reflow(steps: int, batch_size: int) -> ReflowJob:
    return ReflowJob(phases=(ReflowPhase(steps=steps, batch_size=batch_size),), warmup_steps=0)


def test_a_model_is_as_large_however_long_it_is_trained(store: Store) -> None:
    earlier = _made(store, "reflow", _reflow(steps=100, batch_size=8), seconds=10.0)
    found = expected(_extent("reflow", _reflow(steps=300, batch_size=16)), earlier)
    assert found is not None and (found.seconds, found.bytes) == (60.0, 40)


def test_pairs_are_counted_with_those_that_were_lost(store: Store) -> None:
    told = PairsJob(steps=4, guidance=1.0, samples=1000)  # of which there were fewer
    earlier = _made(store, "pairs", told, seconds=10.0, rows=75, quarantined=25)
    found = expected(_extent("pairs", PairsJob(steps=4, guidance=2.0, samples=300)), earlier)
    assert found is not None and (found.seconds, found.bytes) == (60.0, 120), "guidance is a second forward"


def test_what_was_nothing_lets_expect_nothing(store: Store) -> None:
    earlier = _made(store, "pairs", PairsJob(samples=100), seconds=10.0, rows=0)
    assert expected(_extent("pairs", PairsJob(samples=100)), earlier) is None


def test_a_section_of_another_time_lets_expect_nothing(store: Store) -> None:
    earlier = _made(store, "world", World(), seconds=5.0).model_copy(update={"config": {"epochs": 3}})
    assert expected(_extent("world", World()), earlier) is None


def _commit(draft: Draft, *units: str) -> None:
    for unit in units:
        (draft.workdir / unit).write_text(unit)
        draft.commit_unit(unit, {f"{unit}.txt": draft.workdir / unit})


def _checkpoints(draft: Draft, *names: str) -> None:
    for name in names:
        draft.store.write(f"{draft.base}/checkpoints/{name}", b"{}")


def test_units_are_counted_that_are_expected_and_not_merged(store: Store) -> None:
    job = PairsJob(samples=40, shard_size=10)
    with Draft(store, "pairs", "0" * 64) as draft:
        assert done(draft, _extent("pairs", job)) == 0
        _commit(draft, "shard-000000", "shard-000003", "shard-000004", "index")
        assert done(draft, _extent("pairs", job)) == 2, "there is no fifth shard, and the index is merged"


def test_steps_are_those_of_the_last_checkpoint_of_each_phase(store: Store) -> None:
    phases = (DistillPhase(steps=10, batch_size=4), DistillPhase(loss="perceptual", steps=5, batch_size=2))
    work = _extent("distill", Distill(phases=phases, warmup_steps=0))
    with Draft(store, "distill", "0" * 64) as draft:
        _checkpoints(draft, "phase-0-l2/step-00000008.json", "phase-0-l2/step-00000010.json")
        assert done(draft, work) == 10
        _checkpoints(draft, "phase-1-perceptual/step-00000003.json", "phase-1-perceptual/step-00000004.safetensors")
        assert done(draft, work) == 13, "a checkpoint is there when its record is"
        _commit(draft, "model")
        assert done(draft, work) == 15


def test_a_training_whose_model_is_there_is_done_whatever_its_checkpoints_say(store: Store) -> None:
    work = _extent("teacher", TrainTeacher(autoencoder_steps=30, steps=100, warmup_steps=0))
    with Draft(store, "teacher", "0" * 64) as draft:
        _commit(draft, "autoencoder")
        assert done(draft, work) == 30
        _checkpoints(draft, "denoiser/step-00000040.json")
        assert done(draft, work) == 70


@pytest.mark.parametrize(("disabled", "count"), [(False, 10), (True, 9)])
def test_the_units_of_an_evaluation_are_those_it_does(disabled: bool, count: int) -> None:
    roles = {"teacher", "rectified", "student"} | (set() if disabled else {"direct"})
    job, stage = EvaluateJob(steps=(1, 4, 25), teacher_steps=8), STAGES["evaluate"]
    others = ["reference", "straightness-teacher", "straightness-2-rf", "speed"]
    assert len(cells(job, roles)) == count and stage.extent(job, roles).total == count + len(others)
    job = job.model_copy(update={"num_images": 1000, "shard_size": 300})
    assert stage.extent(job, roles).total == 4 * (count + 1) + 3
