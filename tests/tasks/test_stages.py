"""The table of stages: each row can be done, and its extent is the work that the stage then does."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

from infra.artifact import Artifact, Draft
from infra.recipe import Section
from tasks.evaluate.cells import LATENCY_ROUNDS
from tasks.roles import STANDARD
from tasks.sections import (
    Direct,
    Distill,
    DistillPhase,
    EvaluateJob,
    PairsJob,
    PromptsJob,
    RealJob,
    ReflowJob,
    ReflowPhase,
    ReportJob,
    TrainClip,
    TrainTeacher,
    World,
)
from tasks.stage import StageWork
from tasks.stages import STAGES, Extent, Phase, Unit, phase_name, shard_name, shard_number, stage_of
from tests import ROOT

MODELS = [role.input for role in STANDARD]


def extent(stage: str, config: Section, roles: list[str] | None = None) -> Extent:
    return STAGES[stage].extent(config, roles or [])


@pytest.mark.parametrize("name", STAGES)
def test_a_row_names_what_does_it(name: str) -> None:
    row = STAGES[name]
    module, _, work = row.work.partition(":")
    assert row.name == name and issubclass(getattr(importlib.import_module(module), work), StageWork)
    assert row.curve is None or row.curve.role in {role.name for role in STANDARD}


@pytest.mark.parametrize("name", STAGES)
def test_the_extent_of_the_defaults_has_units_that_can_be_committed(name: str) -> None:
    section = STAGES[name].section()
    if isinstance(section, PairsJob):
        section = section.model_copy(update={"samples": 1000})
    found = extent(name, section, MODELS)
    assert found.groups and found.cost > 0 and found.volume > 0 and found.pieces > 0
    assert len({*found.ids}) == len(found.ids), "an id is given once"
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", unit) for unit in found.ids)
    assert {phase.unit for phase in found.phases} <= {*found.ids}


def test_the_table_imports_nothing_heavy() -> None:
    code = "import sys, tasks.stages; assert not {'torch', 'numpy', 'pyarrow', 'prefect', 'diffusers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_stage_is_found_by_the_id_of_a_link_of_the_chain() -> None:
    assert stage_of("pairs-student") is stage_of("pairs-1") is stage_of("pairs") is STAGES["pairs"]
    with pytest.raises(KeyError):
        stage_of("pairs2")


def test_pairs_are_shards_of_which_the_last_may_be_smaller() -> None:
    found = extent("pairs", PairsJob(samples=20, shard_size=8, steps=3, guidance=1.0))
    assert found.groups == ((Unit(shard_name(0), 8),), (Unit(shard_name(1), 8),), (Unit(shard_name(2), 4),))
    assert (found.total, found.unit, found.pieces, found.piece) == (3, "shards", 20, "pairs")
    assert found.ids == ["shard-000000", "shard-000001", "shard-000002", "index", "quarantine"]
    assert [shard_number(unit.id) for (unit,) in found.groups] == [0, 1, 2]
    assert (found.cost, found.volume) == (60, 20)
    guided = extent("pairs", PairsJob(samples=20, shard_size=8, steps=3, guidance=1.5))
    assert guided.cost == 2 * found.cost, "guidance is a second forward pass"
    second_order = extent("pairs", PairsJob(samples=20, shard_size=8, steps=3, guidance=1.0, solver="heun"))
    assert second_order.cost == 20 * 5, "two calls a step, one in the last"


def test_of_pairs_whose_prompts_nobody_has_counted_there_are_none_yet() -> None:
    assert extent("pairs", PairsJob()).groups == ()


def test_a_training_is_one_group_counted_in_steps() -> None:
    phases = (DistillPhase(steps=30, batch_size=4), DistillPhase(loss="perceptual", steps=10, batch_size=2))
    for stage, kind in (("distill", Distill), ("direct", Direct)):
        found = extent(stage, kind(phases=phases, warmup_steps=0))
        assert found.groups == ((Unit("model", 40),),) and found.ids == ["model"]
        assert (found.total, found.unit, found.pieces, found.piece) == (40, "steps", 40, "steps")
        assert found.phases == (Phase("phase-0-l2", 30, 4, "model"), Phase("phase-1-perceptual", 10, 2, "model"))
        assert found.cost == 30 * 4 + 10 * 2, "samples"
    assert phase_name(1, "perceptual") == "phase-1-perceptual"


def test_a_training_of_two_networks_commits_them_as_it_does() -> None:
    teacher = extent("teacher", TrainTeacher(autoencoder_steps=3, steps=5, warmup_steps=0))
    assert teacher.groups == ((Unit("autoencoder", 3), Unit("model", 5)),)
    clip = extent("clip", TrainClip(steps=3, reader_steps=5))
    assert clip.groups == ((Unit("clip", 8),),) and [phase.steps for phase in clip.phases] == [3, 5]


def test_samples_are_counted_step_by_step_through_the_phases() -> None:
    found = extent(
        "teacher",
        TrainTeacher(autoencoder_steps=3, autoencoder_batch_size=10, steps=5, batch_size=2, warmup_steps=0),
    )
    assert [found.samples_between(before, before + 1) for before in range(8)] == [10, 10, 10, 2, 2, 2, 2, 2]
    assert found.samples_between(2, 5) == 10 + 2 + 2 and found.samples_between(0, 8) == found.cost
    assert extent("world", World(val_images=9)).samples_between(2, 5) == 3, "what trains nothing counts pieces"


def test_an_evaluation_is_a_group_per_shard_of_everything_and_one_per_straightness() -> None:
    job = EvaluateJob(num_images=5, shard_size=3, steps=(1, 2), teacher_steps=2, straightness_images=7)
    found = extent("evaluate", job, MODELS)
    names = ["reference", "teacher-2", "teacher-1", "2-rf-2", "2-rf-1", "student-1", "direct-1"]
    assert found.groups == (
        tuple(Unit(f"{name}.00000", 3) for name in names),
        tuple(Unit(f"{name}.00001", 2) for name in names),
        (Unit("straightness-teacher", 7),),
        (Unit("straightness-2-rf", 7),),
        (Unit("speed", LATENCY_ROUNDS),),
    )
    pieces = 5 * len(names) + 14 + LATENCY_ROUNDS
    assert found.merged == ("results",) and found.pieces == pieces and found.piece == "images"
    assert found.cost == 5 * (2 + 1 + 2 + 1 + 1 + 1)


def test_real_pictures_are_counted_unless_they_are_a_whole_split() -> None:
    job = RealJob(num_images=5, shard_size=4)
    found = extent("real", job)
    assert found.groups == ((Unit("real.00000", 3),), (Unit("real.00001", 3),), (Unit("real.00002", 4),))
    assert (found.pieces, found.piece, found.ids) == (10, "images", ["real.00000", "real.00001", "real.00002"])
    split = extent("real", job.model_copy(update={"real": "split", "reference": "none"}))
    assert split.groups == ((Unit("real.00000"),), (Unit("real.00001"),)) and split.piece == "shards"


def test_what_has_one_unit_is_counted_by_its_pieces() -> None:
    one = {
        "world": (World(train_images=2, val_images=3), "coco", 5, "images"),
        "prompts": (PromptsJob(reflow_count=3, distill_count=4), "prompts", 7, "prompts"),
        "report": (ReportJob(), "report", 2, "files"),
        "reflow": (ReflowJob(phases=(ReflowPhase(steps=6),), warmup_steps=0), "model", 6, "steps"),
    }
    for name, (config, unit, pieces, piece) in one.items():
        found = extent(name, config)
        assert found.groups == ((Unit(unit, pieces),),) and found.piece == piece
    assert extent("world", World(val_images=3)).total == 1, "a plan counts it as one unit"


def test_the_units_of_an_extent_are_committed(pairs: Artifact, coco: Artifact, prompts: Artifact) -> None:
    for artifact in (pairs, coco, prompts):
        stage = STAGES[artifact.stage]
        config = stage.section.model_validate(artifact.manifest.config)
        if isinstance(config, PairsJob):
            config = config.model_copy(update={"samples": 20})
        expected = stage.extent(config, [record.role for record in artifact.manifest.inputs]).ids
        with Draft(artifact.store, artifact.stage, artifact.fingerprint) as draft:
            assert sorted(draft.units()) == sorted(expected)
