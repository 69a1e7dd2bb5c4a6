"""Stages `distill` and `direct`: one step, noise -> latent, that does what an ODE solve did (paper, equation 6)."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from infra.artifact import Draft, Source
from infra.errors import UserError
from infra.pairs import PairDataset
from infra.recipe import Direct, Distill, DistillPhase, Perceptual, Performance
from models.clip import ClipLayers, load_clip
from models.losses import DISTANCES, one_step, squared
from models.perceptual import FeatureDistance, Lpips
from models.text_to_image import TextToImage
from tasks.batches import Batches
from tasks.fit import CurvePoint, FitPlan, fit
from tasks.inputs import as_artifact
from tasks.load import load_model
from tasks.order import derive_seed
from tasks.progress import Progress, part
from tasks.reflow import autocast, commit_model, trainable
from tasks.stage import StageResult

Distance = Callable[[Tensor, Tensor], Tensor]
"""distance(student's latent, the pair's latent) -> [B]."""


def train_student(
    config: Distill, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit the tree ``model``, a one-step student in diffusers' format, and the training curve of all phases.

    The guidance of the pairs is baked in: the student runs with none.
    """
    if "model" not in out.units():
        started, curves = time.monotonic(), []
        model, pairs = (
            trainable(load_model(inputs["teacher"]), "raw"),
            PairDataset(as_artifact(inputs["pairs"])),
        )
        total, before = sum(phase.steps for phase in config.phases), 0
        for number, phase in enumerate(config.phases):
            distance = latent_distance(phase, config.perceptual, model, inputs)
            curves.append(_train(model, pairs, config, number, phase, distance, out, part(progress, before, total)))
            before += phase.steps
        commit_model(model, curves, out, started)
    return StageResult(seeds={"distill": config.seed})


def train_direct(
    config: Direct, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """The same distillation on the teacher's own pairs, without reflow: the baseline of the paper's table 2."""
    return train_student(config, inputs, out, perf, progress)


def latent_distance(
    phase: DistillPhase, perceptual: Perceptual, model: TextToImage, inputs: Mapping[str, Source]
) -> Distance:
    """The phase's D: a distance of latents, or a perceptual distance of the pictures they decode to.

    Alone, the distance of a small network drifts: where noise decides between two pictures, it prefers one. A share of
    the squared latent error holds the student to its own teacher's choice.
    """
    if phase.loss != "perceptual":
        of_difference = DISTANCES[phase.loss]
        return lambda student, target: of_difference(student - target)
    pictures = _perceptual(perceptual, inputs).to(model.device)

    def distance(student: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            expected = model.pixels(target)
        # The gradient runs through the frozen decoder into the student.
        return pictures(model.pixels(student), expected) + phase.latent_weight * squared(student - target)

    return distance


def _perceptual(perceptual: Perceptual, inputs: Mapping[str, Source]) -> torch.nn.Module:
    if perceptual.kind == "mini":
        return FeatureDistance(ClipLayers(load_clip(str(inputs["clip"].folder("clip")), None)))
    if perceptual.trunk_weights is None:
        raise UserError(
            "distill.perceptual.trunk_weights: null; expected a file with torchvision's weights of the trunk"
        )
    try:
        return Lpips(perceptual.network, Path(perceptual.trunk_weights))
    except (FileNotFoundError, RuntimeError) as error:
        raise UserError(f"distill.perceptual.trunk_weights: {error}") from error


def _train(
    model: TextToImage,
    pairs: PairDataset,
    config: Distill,
    number: int,
    phase: DistillPhase,
    distance: Distance,
    out: Draft,
    progress: Progress,
) -> list[CurvePoint]:
    name = f"phase-{number}-{phase.loss}"
    seed, velocity = derive_seed(config.seed, "distill", name), model.velocity()
    plan = FitPlan.of(config, pairs.artifact.digest, phase.steps, phase.learning_rate, seed)
    batches = Batches(pairs, seed, phase.batch_size)

    def loss(step: int) -> Tensor:
        noise, latent, prompts = batches(step)
        text = model.encode(prompts)
        with autocast(model, config.precision):
            return distance(one_step(velocity, noise.to(model.device), text), latent.to(model.device)).mean()

    return fit(model.pipeline.unet, loss, plan, out, name, progress)
