"""Stage `reflow`: train a rectified flow on pairs, started from the model that made them (paper, algorithm 1)."""

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from infra.artifact import Draft, Source
from infra.pairs import PairDataset
from infra.recipe import Performance, Precision, Reflow
from models.losses import draw_sigma, reflow_loss
from models.text_to_image import TextToImage
from tasks.batches import Batches
from tasks.curves import write_curve
from tasks.fit import CurvePoint, FitPlan, fit
from tasks.inputs import as_artifact
from tasks.load import load_model
from tasks.order import derive_seed, generator
from tasks.progress import Progress
from tasks.stage import StageResult


def train_reflow(
    config: Reflow, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit the tree ``model``, a rectified flow in diffusers' format, and its training curve."""
    if "model" not in out.units():
        started = time.monotonic()
        model = trainable(load_model(inputs["teacher"]), config.parameterization)
        curve = _train(model, PairDataset(as_artifact(inputs["pairs"])), config, out, progress)
        commit_model(model, [curve], out, started)
    return StageResult(seeds={"reflow": config.seed})


def trainable(model: TextToImage, parameterization: Literal["raw", "converted"]) -> TextToImage:
    """The model as a flow with a trainable U-Net; a flow keeps what its output means, a teacher starts as told."""
    if model.parameterization == "diffusion":
        model.parameterization = parameterization
    model.pipeline.unet.float().requires_grad_(True)
    return model


def autocast(model: TextToImage, precision: Precision) -> torch.autocast:
    """bf16 in the forward and backward pass where the recipe asks for it; weights stay fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def _train(model: TextToImage, pairs: PairDataset, config: Reflow, out: Draft, progress: Progress) -> list[CurvePoint]:
    seed, velocity = derive_seed(config.seed, "reflow"), model.velocity()
    plan = FitPlan.of(config, pairs.artifact.digest, config.steps, config.learning_rate, seed)
    batches = Batches(pairs, seed, config.batch_size)

    def loss(step: int) -> Tensor:
        rng = generator(seed, step)
        noise, latent, prompts = batches(step)
        dropped = torch.rand(len(prompts), generator=rng) < config.text_dropout
        text = model.encode(["" if drop else prompt for prompt, drop in zip(prompts, dropped, strict=True)])
        sigma = draw_sigma(len(prompts), config.sigma_density, rng).to(model.device)
        with autocast(model, config.precision):
            return reflow_loss(velocity, noise.to(model.device), latent.to(model.device), text, sigma, config.loss)

    return fit(model.pipeline.unet, loss, plan, out, "reflow", progress)


def commit_model(model: TextToImage, curves: Sequence[list[CurvePoint]], out: Draft, started: float) -> None:
    """Commit the model as a folder for stock diffusers, with the training curve of its phases in a row."""
    folder = out.workdir / "model"
    model.save(folder)
    curve = write_curve(out.workdir / "curve.parquet", curves)
    out.commit_unit("model", {"model": folder, "curve.parquet": curve}, seconds=time.monotonic() - started)
