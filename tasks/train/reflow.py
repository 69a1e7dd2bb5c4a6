"""Stage `reflow`: train a rectified flow on pairs, started from the model that made them (paper, algorithm 1)."""

import time
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from infra.artifact import Draft
from models.losses import draw_sigma, reflow_loss
from models.pipelines.text_to_image import TextToImage
from tasks.data.load import load_model
from tasks.order import Draws, derive_seed
from tasks.sections import Precision, Reflow
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import CURVE_FILE, Group
from tasks.train.batches import Batches
from tasks.train.curves import write_curve
from tasks.train.fit import At, CurvePoint, FitPlan, fit
from tasks.train.pair_sets import PairSets


class ReflowTraining(StageWork[Reflow]):
    """Commits the tree ``model``, a rectified flow in diffusers' format, and its training curve."""

    def make(self, group: Group) -> None:
        """Train the flow."""
        started = time.monotonic()
        model = trainable(load_model(self.inputs["teacher"]), self.config.parameterization)
        curve = self._train(model, PairSets([self.inputs["pairs"]]))
        commit_model(model, [curve], self.out, started)

    def _train(self, model: TextToImage, pairs: PairSets) -> list[CurvePoint]:
        config, (phase,) = self.config, self.work.extent.phases
        seed, velocity = derive_seed(config.seed, "reflow"), model.velocity()
        batches = Batches(pairs, seed, phase.batch_size)

        def loss(at: At) -> Tensor:
            draws = Draws(seed, at.step)
            noise, latent, prompts = batches(at.step)
            dropped = draws.uniform(len(prompts)) < config.text_dropout
            condition = model.encode(["" if drop else prompt for prompt, drop in zip(prompts, dropped, strict=True)])
            sigma = draw_sigma(draws.uniform(2, len(prompts)), config.sigma_density).to(model.device)
            noise, latent = noise.to(model.device), latent.to(model.device)
            with autocast(model, config.precision):
                return reflow_loss(velocity, noise, latent, condition, sigma, config.loss)

        plan = FitPlan.of(config, phase, pairs.digest, config.learning_rate, seed)
        return fit(model.denoiser, loss, plan, self.work)

    def finish(self, units: Units) -> StageResult:
        """Nothing but the seed: the curve is a file."""
        return StageResult(seeds={"reflow": self.config.seed})


def trainable(model: TextToImage, parameterization: Literal["raw", "converted"]) -> TextToImage:
    """The model as a flow with a trainable network; a flow keeps what its output means, a teacher starts as told."""
    if model.parameterization == "diffusion":
        model.parameterization = parameterization
    model.denoiser.float().requires_grad_(True)
    return model


def autocast(model: TextToImage, precision: Precision) -> torch.autocast:
    """bf16 in the forward and backward pass where the recipe asks for it; weights stay fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")


def commit_model(model: TextToImage, curves: Sequence[list[CurvePoint]], out: Draft, started: float) -> None:
    """Commit the model as a folder for stock diffusers, with the training curve of its phases in a row."""
    folder = out.workdir / "model"
    model.save(folder)
    curve = write_curve(out.workdir / CURVE_FILE, curves)
    out.commit_unit("model", {"model": folder, CURVE_FILE: curve}, seconds=time.monotonic() - started)
