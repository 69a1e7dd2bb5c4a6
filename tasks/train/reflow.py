"""Stage `reflow`: train a rectified flow on pairs, started from the model that made them (paper, algorithm 1)."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from infra.artifact import Draft, Source
from infra.errors import UserError
from models.condition import Condition
from models.losses import draw_sigma, pictured_reflow_loss, rectified_diffusion_loss, reflow_loss
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import diffusion, trainable
from tasks.data.load import load_model
from tasks.order import Draws, derive_seed
from tasks.sections import ReflowJob, ReflowPhase
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import CURVE_FILE, Group, Phase
from tasks.train import ranks
from tasks.train.batches import Batches
from tasks.train.curves import write_curve
from tasks.train.fit import At, CurvePoint, FitPlan, fit
from tasks.train.glance import Glancing
from tasks.train.live import Live
from tasks.train.pair_sets import PairSets
from tasks.train.perceptual import pictures_of
from tasks.train.precision import autocast

PairLoss = Callable[[Tensor, Tensor, Condition, Tensor], Tensor]
"""loss(noise [B, C, H, W], latent, condition, sigma [B])."""


class ReflowTraining(StageWork[ReflowJob]):
    """Commits the tree ``model``, a rectified flow in diffusers' format, and its training curve."""

    def make(self, group: Group) -> None:
        """Train the flow, phase after phase."""
        started = time.monotonic()
        model = self._start(self.inputs["teacher"])
        pairs, pair_loss = PairSets([self.inputs["pairs"]]), self.pair_loss(model)
        phases = zip(self.work.extent.phases, self.config.phases, strict=True)
        curves = [self._train(model, pairs, pair_loss, phase, told) for phase, told in phases]
        commit_model(model, curves, self.out, started)

    def _start(self, teacher: Source) -> TextToImage:
        try:
            return trainable(load_model(teacher), self.config.parameterization)
        except ValueError as error:
            raise UserError(f"reflow: {error}") from error

    def _train(
        self, model: TextToImage, pairs: PairSets, pair_loss: PairLoss, phase: Phase, told: ReflowPhase
    ) -> list[CurvePoint]:
        config, seed = self.config, derive_seed(self.config.seed, "reflow", self.config.round, phase.name)
        batches = Batches(pairs, seed, phase.batch_size, config.shuffle_shards)

        def loss(at: At) -> Tensor:
            draws = Draws(seed, at.step)
            dropped = draws.uniform(phase.batch_size)[at.rows] < config.text_dropout
            sigma = draw_sigma(draws.uniform(2, phase.batch_size), config.sigma_density)[at.rows].to(model.device)
            noise, latent, prompts = batches(at.step, at.rows)
            condition = model.encode(["" if drop else prompt for prompt, drop in zip(prompts, dropped, strict=True)])
            noise, latent = noise.to(model.device), latent.to(model.device)
            with autocast(model, config.precision):
                return pair_loss(noise, latent, condition, sigma)

        micro = self.work.performance.micro_batch_size
        plan = FitPlan.of(config, phase, pairs.digest, told.learning_rate, seed, micro)
        look = Glancing(model, pairs, config.precision, is_flow=True)
        return fit(model.denoiser, loss, plan, self.work, watch=Live(config, phase.name, self.out, look))

    def pair_loss(self, model: TextToImage) -> PairLoss:
        """The recipe's loss. Raises UserError for weights of a perceptual network that are missing or another's."""
        distance = self.config.loss
        if model.parameterization == "diffusion":
            return partial(rectified_diffusion_loss, diffusion(model), distance=distance)
        velocity = model.velocity()
        if distance == "lpips_huber":
            pictures = pictures_of(model, self.config.perceptual, self.inputs.get("clip"), self.out.stage)
            return partial(pictured_reflow_loss, velocity, pictures=pictures)
        return partial(reflow_loss, velocity, distance=distance)

    def finish(self, units: Units) -> StageResult:
        """Nothing but the seed: the curve is a file."""
        return StageResult(seeds={"reflow": self.config.seed})


def commit_model(model: TextToImage, curves: Sequence[list[CurvePoint]], out: Draft, started: float) -> None:
    """Commit the model as a folder for stock diffusers, with the training curve of its phases in a row.

    Of several ranks the first one does.
    """
    if not ranks.is_first():
        return
    folder = out.workdir / "model"
    model.save(folder)
    curve = write_curve(out.workdir / CURVE_FILE, curves)
    out.commit_unit("model", {"model": folder, CURVE_FILE: curve}, seconds=time.monotonic() - started)
