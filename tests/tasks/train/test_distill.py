"""Distillation as a stage: it learns, leaves frozen parts alone, and resumes bitwise across phases."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from infra.artifact import Artifact, Draft, Folder, Source
from infra.errors import UserError
from infra.pairs import PairDataset
from infra.store import Store
from infra.store.local import LocalStore
from models.losses import LatentDistance, one_step, pseudo_huber, squared
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import trainable
from models.stacked_unet import StackedUNet
from tasks.progress import Progress, silent
from tasks.sections import Direct, Distill, DistillPhase, Perceptual
from tasks.stage import Work, run_stage, stage_fingerprint
from tasks.stages import STAGES
from tasks.train.distill import Distillation
from tests.tasks.conftest import PAIRS, PERF, Killed, killed_after
from tests.tasks.train.test_reflow import apart

L2 = DistillPhase(loss="l2", steps=6, batch_size=4, learning_rate=1e-3)
PERCEPTUAL = DistillPhase(loss="perceptual", steps=4, batch_size=4, learning_rate=1e-3)
TWO_PHASES = Distill(phases=(L2, PERCEPTUAL), warmup_steps=2, checkpoint_every_steps=4, ema_decay=0.9)


@pytest.fixture(scope="session")
def inputs(flow: Folder, student_pairs: Artifact, clip: Folder) -> dict[str, Source]:
    return {"teacher": flow, "pairs": student_pairs, "clip": clip}


def distilled(config: Distill, inputs: dict[str, Source], store: Store, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["distill"], config, inputs, store, PERF, progress)


def error_of(model: TextToImage, pairs: Artifact) -> float:
    """The student's mean squared distance to all pairs."""
    data = PairDataset(pairs)
    noise, latent, prompts = data.batch(np.arange(len(data)))
    with torch.no_grad():
        return float(squared(one_step(model.velocity(), noise, model.encode(prompts)) - latent).mean())


@pytest.mark.parametrize("architecture", ["same", "stacked"])
def test_a_student_gets_nearer_to_its_pairs(architecture: str, inputs: dict[str, Source], store: Store) -> None:
    pairs = inputs["pairs"]
    assert isinstance(pairs, Artifact)
    phases = (L2.model_copy(update={"steps": 15, "batch_size": 20}),)
    config = TWO_PHASES.model_copy(update={"phases": phases, "architecture": architecture})
    student = open_pipeline(distilled(config, inputs, store).folder("model"))
    assert student.parameterization == "raw"
    assert error_of(student, pairs) < 0.5 * error_of(open_pipeline(inputs["teacher"].folder()), pairs)


@pytest.mark.slow
def test_stopped_anywhere_and_repeated_gives_the_same_student_bitwise(
    inputs: dict[str, Source], tmp_path: Path
) -> None:
    whole = distilled(TWO_PHASES, inputs, LocalStore(tmp_path / "whole"))
    for told in (5, 6, 7):  # phase 0 ends with step 6
        store, done = LocalStore(tmp_path / f"stopped-{told}"), list[int]()
        with pytest.raises(Killed):
            distilled(TWO_PHASES, inputs, store, killed_after(told))
        torch.manual_seed(told)
        again = distilled(TWO_PHASES, inputs, store, lambda n, *_, to=done: to.append(n))
        assert again.digest == whole.digest, told
        # Killed before the checkpoint of the step it was told of.
        assert sorted({*done}) == [*range({5: 4, 6: 4, 7: 6}[told], 11)]
    assert whole.files("model/unet/*") and not [p for p in store.list() if "checkpoints" in p]


def test_the_curve_counts_steps_through_the_phases(inputs: dict[str, Source], store: Store) -> None:
    curve = pq.read_table(distilled(TWO_PHASES, inputs, store).fetch("curve.parquet")).to_pydict()
    assert (curve["phase"], curve["step"]) == ([0, 1], [6, 10])
    assert all(value > 0 for value in curve["loss"] + curve["gradient_norm"])


def distance_of(phase: DistillPhase, model: TextToImage, inputs: dict[str, Source], store: Store) -> LatentDistance:
    """The D that the stage trains with."""
    stage = STAGES["distill"]
    with Draft(store, stage.name, stage_fingerprint(stage, TWO_PHASES, inputs)) as out:
        return Distillation(Work(stage, TWO_PHASES, inputs, out, PERF, silent)).distance(phase, model)


def student_and_target(inputs: dict[str, Source]) -> tuple[TextToImage, Tensor, Tensor, list[str]]:
    pairs = inputs["pairs"]
    assert isinstance(pairs, Artifact)
    noise, latent, prompts = PairDataset(pairs).batch(np.arange(4))
    return trainable(open_pipeline(inputs["teacher"].folder()), "raw"), noise, latent, prompts


def test_the_perceptual_gradient_reaches_the_unet_and_nothing_else(inputs: dict[str, Source], store: Store) -> None:
    model, noise, latent, prompts = student_and_target(inputs)
    distance = distance_of(PERCEPTUAL, model, inputs, store)
    student = one_step(model.velocity(), noise, model.encode(prompts))
    student.retain_grad()
    distance(student, latent).mean().backward()
    assert student.grad is not None and (student.grad != 0).all(), "through the decoder into every latent element"
    unet = dict(model.pipeline.unet.named_parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in unet.values())
    assert sum(bool((p.grad != 0).any()) for p in unet.values() if p.grad is not None) > 0.9 * len(unet)
    frozen = [*model.pipeline.vae.parameters(), *model.pipeline.text_encoder.parameters()]
    assert all(p.grad is None and not p.requires_grad for p in frozen)


def test_the_perceptual_distance_is_zero_at_the_target_and_a_gradient_step_lowers_it(
    inputs: dict[str, Source], store: Store
) -> None:
    model, _, latent, _ = student_and_target(inputs)
    distance = distance_of(PERCEPTUAL, model, inputs, store)
    assert distance(latent, latent).abs().max() < 1e-6
    student = (latent + 0.5 * torch.randn_like(latent)).requires_grad_()
    before = distance(student, latent)
    before.sum().backward()
    assert student.grad is not None and (before > 1e-3).all()
    step = 0.02 * student.grad / student.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert (distance(student.detach() - step, latent) < before).all()


@pytest.mark.parametrize(("loss", "of_difference"), [("l2", squared), ("huber", pseudo_huber)])
def test_a_distance_of_latents_is_the_named_one(
    loss: Literal["l2", "huber"], of_difference: Callable[[Tensor], Tensor], inputs: dict[str, Source], store: Store
) -> None:
    model, _, latent, _ = student_and_target(inputs)
    student = latent + 0.5 * torch.randn_like(latent)
    distance = distance_of(DistillPhase(loss=loss), model, inputs, store)
    assert distance(student, latent).equal(of_difference(student - latent))


def test_a_share_of_the_latent_error_is_added(inputs: dict[str, Source], store: Store) -> None:
    model, _, latent, _ = student_and_target(inputs)
    student = latent + 0.5 * torch.randn_like(latent)
    held = PERCEPTUAL.model_copy(update={"latent_weight": 3.0})
    alone, both = (distance_of(phase, model, inputs, store)(student, latent) for phase in (PERCEPTUAL, held))
    torch.testing.assert_close(both, alone + 3 * (student - latent).square().flatten(1).mean(1))


def weights(folder: Path) -> dict[str, dict[str, Tensor]]:
    return {path.parent.name: load_file(path) for path in folder.glob("*/*.safetensors")}


def test_only_the_unet_of_a_trained_model_differs_from_its_teachers(inputs: dict[str, Source], store: Store) -> None:
    before = weights(inputs["teacher"].folder())
    after = weights(distilled(TWO_PHASES, inputs, store).folder("model"))
    assert before.keys() == after.keys() == {"unet", "vae", "text_encoder"}
    same = {
        part: [torch.equal(before[part][name], value) for name, value in tensors.items()]
        for part, tensors in after.items()
    }
    assert all(same["vae"]) and all(same["text_encoder"]) and not any(same["unet"])


def test_the_direct_student_is_a_flow_made_from_the_teacher_itself(
    teacher: Folder, pairs: Artifact, clip: Folder, store: Store
) -> None:
    config = Direct(phases=(L2,), warmup_steps=2)
    made_from: dict[str, Source] = {"teacher": teacher, "pairs": pairs, "clip": clip}
    artifact = run_stage(STAGES["direct"], config, made_from, store, PERF, silent)
    assert open_pipeline(artifact.folder("model")).parameterization == "raw"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_phase_in_either_precision_gives_fp32_weights(
    precision: str, inputs: dict[str, Source], store: Store
) -> None:
    config = TWO_PHASES.model_copy(update={"precision": precision})
    unet = weights(distilled(config, inputs, store).folder("model"))["unet"]
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in unet.values())


def test_lpips_without_its_trunk_is_named(inputs: dict[str, Source], store: Store, tmp_path: Path) -> None:
    def config(path: str | None) -> Distill:
        perceptual = Perceptual(kind="lpips", trunk_weights=path)
        return TWO_PHASES.model_copy(update={"phases": (PERCEPTUAL,), "perceptual": perceptual})

    with pytest.raises(UserError, match=r"distill\.perceptual\.trunk_weights: null; expected a file"):
        distilled(config(None), inputs, store)
    with pytest.raises(UserError, match=r"perceptual\.trunk_weights: .*none\.pth: no such file"):
        distilled(config(str(tmp_path / "none.pth")), inputs, store)


@pytest.mark.parametrize("told", [4, 7])
def test_a_stacked_student_is_trained_saved_and_resumed(told: int, inputs: dict[str, Source], tmp_path: Path) -> None:
    config = TWO_PHASES.model_copy(update={"architecture": "stacked"})
    whole = distilled(config, inputs, LocalStore(tmp_path / "whole"))
    student = open_pipeline(whole.folder("model"))
    assert isinstance(student.denoiser, StackedUNet) and student.parameterization == "raw"
    store = LocalStore(tmp_path / "stopped")
    with pytest.raises(Killed):
        distilled(config, inputs, store, killed_after(told))
    assert distilled(config, inputs, store).digest == whole.digest


def test_a_diffusion_model_is_distilled_at_its_last_timestep(
    teacher: Folder, pairs: Artifact, clip: Folder, store: Store
) -> None:
    phase = DistillPhase(steps=20, batch_size=20, learning_rate=1e-4)
    config = Distill(parameterization="epsilon", phases=(phase,), warmup_steps=2, ema_decay=0.9)
    made = distilled(config, {"teacher": teacher, "pairs": pairs, "clip": clip}, store)
    noise, latent, prompts = PairDataset(pairs).batch(np.arange(20))
    before, after = (
        float(squared(open_pipeline(folder).sample(noise, prompts, 1, 1.0, "ddim") - latent).mean())
        for folder in (teacher.path, made.folder("model"))
    )
    assert after < 0.5 * before


def test_what_cannot_be_stacked_or_stay_a_diffusion_model_is_named(inputs: dict[str, Source], store: Store) -> None:
    with pytest.raises(UserError, match='distill: parameterization "epsilon": the model is a raw flow'):
        distilled(TWO_PHASES.model_copy(update={"parameterization": "epsilon"}), inputs, store)
    stacked = TWO_PHASES.model_copy(update={"architecture": "stacked", "phases": (L2,)})
    student = distilled(stacked, inputs, store)
    with pytest.raises(UserError, match='distill: architecture "stacked": the network is a StackedUNet'):
        distilled(stacked, {**inputs, "teacher": student}, store)


def test_micro_batches_change_nothing_but_rounding(inputs: dict[str, Source], tmp_path: Path) -> None:
    made = [
        run_stage(
            STAGES["distill"], TWO_PHASES, inputs, LocalStore(tmp_path / str(size)),
            PERF.model_copy(update={"micro_batch_size": size}), silent,
        )
        for size in (None, 3)
    ]  # fmt: skip
    start, whole, parts = (weights(one.folder("model"))["unet"] for one in (inputs["teacher"], *made))
    assert apart(whole, parts, start) < 1e-3


def test_lpips_huber_is_the_sum_of_both(inputs: dict[str, Source], store: Store) -> None:
    model, _, latent, _ = student_and_target(inputs)
    student = latent + 0.5 * torch.randn_like(latent)
    both = PERCEPTUAL.model_copy(update={"loss": "lpips_huber"})
    found, pictures = (distance_of(phase, model, inputs, store)(student, latent) for phase in (both, PERCEPTUAL))
    torch.testing.assert_close(found, pictures + pseudo_huber(student - latent))


def test_pairs_in_a_plain_folder_are_refused(inputs: dict[str, Source], store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a plain folder; expected the artifact of a stage"):
        distilled(TWO_PHASES, {**inputs, "pairs": Folder.open(tmp_path)}, store)


def test_pictures_of_another_size_are_compared_by_the_small_clips_layers(
    large_flow: Folder, clip: Folder, prompts: Artifact, store: Store
) -> None:
    job = PAIRS.model_copy(update={"solver": "euler", "guidance": 1.0})
    pairs = run_stage(STAGES["pairs"], job, {"teacher": large_flow, "prompts": prompts}, store, PERF, silent)
    config = TWO_PHASES.model_copy(update={"phases": (PERCEPTUAL.model_copy(update={"steps": 2}),)})
    student = distilled(config, {"teacher": large_flow, "pairs": pairs, "clip": clip}, store)
    assert open_pipeline(student.folder("model")).pixels_per_side == 64
    losses = pq.read_table(student.fetch("curve.parquet")).to_pydict()["loss"]
    assert losses and all(0 < loss < 1e3 for loss in losses)
