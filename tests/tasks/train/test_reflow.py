"""Reflow as a stage: it learns, resumes bitwise, and keeps what the output of its teacher means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from infra.artifact import Artifact, Folder, Source
from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import Store
from infra.store.local import LocalStore
from models.losses import rectified_diffusion_loss, squared
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import diffusion
from models.solvers import euler, sigma_grid
from tasks.progress import Progress, silent
from tasks.sections import Performance, ReflowJob, ReflowPhase
from tasks.stage import run_stage
from tasks.stages import STAGES
from tasks.train.launch import by_ranks
from tests.tasks.conftest import PERF, Killed, killed_after

TWO_PHASES = (ReflowPhase(steps=5, batch_size=4), ReflowPhase(steps=3, batch_size=6, learning_rate=1e-4))
REFLOW = ReflowJob(
    parameterization="raw", sigma_density="u_shaped", loss="huber", phases=TWO_PHASES, warmup_steps=2,
    text_dropout=0.3, checkpoint_every_steps=3,
)  # fmt: skip


def reflowed(
    config: ReflowJob,
    inputs: Mapping[str, Source],
    store: Store,
    progress: Progress = silent,
    performance: Performance = PERF,
) -> Artifact:
    return run_stage(STAGES["reflow"], config, inputs, store, performance, progress)


def weights(made: Source) -> dict[str, Tensor]:
    (path,) = made.folder("model").glob("unet/*.safetensors")
    return load_file(path)


def apart(one: dict[str, Tensor], other: dict[str, Tensor], start: dict[str, Tensor]) -> float:
    """How far two trained networks are apart, as a share of the way that one went from the start."""
    gap, way = (
        torch.stack([(one[name] - place[name]).square().sum() for name in one]).sum().sqrt() for place in (other, start)
    )
    return float(gap / way)


@pytest.mark.parametrize("parameterization", ["raw", "converted", "epsilon"])
def test_a_reflow_stopped_and_repeated_is_the_same_bitwise(
    parameterization: str, teacher: Folder, pairs: Artifact, tmp_path: Path
) -> None:
    config = REFLOW.model_copy(update={"parameterization": parameterization})
    made_from = {"teacher": teacher, "pairs": pairs}
    whole = reflowed(config, made_from, LocalStore(tmp_path / "whole"))
    expected = "diffusion" if parameterization == "epsilon" else parameterization
    assert open_pipeline(whole.folder("model")).parameterization == expected
    store = LocalStore(tmp_path / "stopped")
    for told in (4, 2):  # twice, between checkpoints, before and within the second phase
        with pytest.raises(Killed):
            reflowed(config, made_from, store, killed_after(told))
    assert reflowed(config, made_from, store).digest == whole.digest


@pytest.mark.parametrize("micro", [3, 1])
def test_micro_batches_draw_the_same_and_train_the_same(
    micro: int, teacher: Folder, pairs: Artifact, tmp_path: Path
) -> None:
    """Batches of 4 and 6, with text dropout: only the order of summation differs, 1e-3 of the way that weights went."""
    made = [
        reflowed(
            REFLOW,
            {"teacher": teacher, "pairs": pairs},
            LocalStore(tmp_path / str(size)),
            performance=PERF.model_copy(update={"micro_batch_size": size}),
        )
        for size in (None, micro)
    ]
    assert made[0].fingerprint == made[1].fingerprint
    assert apart(weights(made[0]), weights(made[1]), weights(teacher)) < 1e-3
    losses = [pq.read_table(one.fetch("curve.parquet")).column("loss").to_pylist() for one in made]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


@pytest.mark.slow
@pytest.mark.timeout(900)  # torch and diffusers are imported by three processes of a busy machine
@pytest.mark.parametrize("shard", [False, True])
def test_two_ranks_train_the_same_as_one(shard: bool, teacher: Folder, pairs: Artifact, tmp_path: Path) -> None:
    """With text dropout and two phases, looked at or not: only the order of summation differs."""
    performance = PERF.model_copy(update={"micro_batch_size": 2, "shard": shard})
    made_from, one, two = {"teacher": teacher, "pairs": pairs}, LocalStore(tmp_path / "1"), LocalStore(tmp_path / "2")
    told, alone = list[int](), reflowed(REFLOW, made_from, one)

    def progress(done: int, total: int, unit: str) -> None:
        told.append(done)

    watched = REFLOW.model_copy(update={"evaluate_every_steps": 2})
    made = run_stage(STAGES["reflow"], watched, made_from, two, performance, progress, by_ranks(2))
    assert made.fingerprint == alone.fingerprint and told == [*range(6), *range(5, 9)]
    assert apart(weights(alone), weights(made), weights(teacher)) < 1e-3
    losses = [pq.read_table(each.fetch("curve.parquet")).column("loss").to_pylist() for each in (alone, made)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert [file.name for file in made.files()] == [file.name for file in alone.files()]
    for config in alone.files("*config.json"):
        assert made.fetch(config.name).read_bytes() == alone.fetch(config).read_bytes()


def test_a_batch_that_ranks_cannot_share_is_refused(teacher: Folder, pairs: Artifact, store: Store) -> None:
    with pytest.raises(UserError, match="a batch of 4 samples has no equal shares for 3 ranks"):
        run_stage(STAGES["reflow"], REFLOW, {"teacher": teacher, "pairs": pairs}, store, PERF, silent, by_ranks(3))


def test_each_round_draws_sigmas_of_its_own(teacher: Folder, pairs: Artifact, store: Store) -> None:
    rounds = [REFLOW.model_copy(update={"round": number}) for number in (1, 2, 1)]
    made = [reflowed(config, {"teacher": teacher, "pairs": pairs}, store) for config in rounds]
    assert made[0].digest == made[2].digest
    one, two = (weights(each) for each in made[:2])
    assert not all(torch.equal(one[name], two[name]) for name in one)


def test_lpips_huber_compares_pictures(teacher: Folder, pairs: Artifact, clip: Folder, store: Store) -> None:
    config = REFLOW.model_copy(update={"loss": "lpips_huber", "phases": (ReflowPhase(steps=2, batch_size=2),)})
    made_from = {"teacher": teacher, "pairs": pairs}
    made = reflowed(config, {**made_from, "clip": clip}, store)
    other = reflowed(config.model_copy(update={"loss": "huber"}), made_from, store)
    assert not all(torch.equal(value, weights(other)[name]) for name, value in weights(made).items())


def test_a_flow_that_should_stay_a_diffusion_model_is_refused(flow: Folder, pairs: Artifact, store: Store) -> None:
    config = REFLOW.model_copy(update={"parameterization": "epsilon"})
    with pytest.raises(UserError, match='reflow: parameterization "epsilon": the model is a raw flow'):
        reflowed(config, {"teacher": flow, "pairs": pairs}, store)


def test_rectified_diffusion_learns_the_noise_of_each_pair(teacher: Folder, pairs: Artifact, store: Store) -> None:
    phases = (ReflowPhase(steps=20, batch_size=10, learning_rate=1e-3),)
    changes = {"parameterization": "epsilon", "phases": phases, "text_dropout": 0.0, "loss": "l2"}
    made = reflowed(REFLOW.model_copy(update=changes), {"teacher": teacher, "pairs": pairs}, store)
    noise, latent, prompts = PairDataset(pairs).batch(np.arange(20))

    def error(folder: Path) -> float:
        model = open_pipeline(folder)
        told, level = model.encode(prompts), torch.linspace(0, 1, 20)
        with torch.no_grad():
            return float(rectified_diffusion_loss(diffusion(model), noise, latent, told, level, "l2"))

    assert error(made.folder("model")) < 0.5 * error(teacher.path)


def test_a_second_round_keeps_what_the_first_ones_output_means(teacher: Folder, pairs: Artifact, store: Store) -> None:
    phases = (ReflowPhase(steps=2, batch_size=4),)
    converted = REFLOW.model_copy(update={"parameterization": "converted", "phases": phases})
    first = reflowed(converted, {"teacher": teacher, "pairs": pairs}, store)
    second = reflowed(REFLOW, {"teacher": first, "pairs": pairs}, store)
    assert open_pipeline(second.folder("model")).parameterization == "converted"


def test_a_reflow_gets_nearer_to_its_pairs(flow: Folder, student_pairs: Artifact, store: Store) -> None:
    config = REFLOW.model_copy(
        update={
            "phases": (ReflowPhase(steps=20, batch_size=10, learning_rate=1e-3),),
            "text_dropout": 0.0,
            "loss": "l2",
        }
    )
    made_from = {"teacher": flow, "pairs": student_pairs}
    models = [flow.path, reflowed(config, made_from, store).folder("model")]
    data = PairDataset(student_pairs)
    noise, latent, prompts = data.batch(np.arange(len(data)))

    def error(model: TextToImage) -> float:
        found = euler(model.velocity(), noise, model.encode(prompts), sigma_grid(2))
        return float(squared(found - latent).mean())

    before, after = (error(open_pipeline(folder)) for folder in models)
    assert after < 0.5 * before
