"""Stages `distill` and `direct`: one step, noise -> latent, that does what an ODE solve did (paper, equation 6)."""

import time
from pathlib import Path

import torch
from torch import Tensor

from infra.errors import UserError
from models.clip import ClipLayers, load_clip
from models.losses import LatentDistance, distillation_loss, latent_distance, picture_distance
from models.perceptual import FeatureDistance, Lpips
from models.pipelines.text_to_image import TextToImage
from tasks.data.load import load_model
from tasks.order import derive_seed
from tasks.sections import Distill, DistillPhase
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Group, Phase
from tasks.train.batches import Batches
from tasks.train.fit import At, CurvePoint, FitPlan, fit
from tasks.train.pair_sets import PairSets
from tasks.train.reflow import autocast, commit_model, trainable


class Distillation(StageWork[Distill]):
    """Commits the tree ``model``, a one-step student in diffusers' format, and the training curve of all phases.

    The guidance of the pairs is baked in: the student runs with none. On the teacher's own pairs it is the baseline
    without reflow of the paper's table 2.
    """

    def make(self, group: Group) -> None:
        """Train the student, phase after phase."""
        started = time.monotonic()
        model = trainable(load_model(self.inputs["teacher"]), "raw")
        pairs = PairSets([self.inputs[role] for role in ("pairs", "more_pairs") if role in self.inputs])
        phases = zip(self.work.extent.phases, self.config.phases, strict=True)
        curves = [self._train(model, pairs, phase, told) for phase, told in phases]
        commit_model(model, curves, self.out, started)

    def _train(self, model: TextToImage, pairs: PairSets, phase: Phase, told: DistillPhase) -> list[CurvePoint]:
        config, distance = self.config, self.distance(told, model)
        seed, velocity = derive_seed(config.seed, "distill", phase.name), model.velocity()
        batches = Batches(pairs, seed, phase.batch_size)

        def loss(at: At) -> Tensor:
            noise, latent, prompts = batches(at.step)
            condition, noise, latent = model.encode(prompts), noise.to(model.device), latent.to(model.device)
            with autocast(model, config.precision):
                return distillation_loss(velocity, noise, latent, condition, distance)

        plan = FitPlan.of(config, phase, pairs.digest, told.learning_rate, seed)
        return fit(model.denoiser, loss, plan, self.work)

    def distance(self, phase: DistillPhase, model: TextToImage) -> LatentDistance:
        """The phase's D. Raises UserError for weights of a perceptual network that are missing or another's."""
        if phase.loss != "perceptual":
            return latent_distance(phase.loss)
        return picture_distance(model.pixels, self._perceptual().to(model.device), phase.latent_weight)

    def _perceptual(self) -> torch.nn.Module:
        perceptual = self.config.perceptual
        if perceptual.kind == "mini":
            return FeatureDistance(ClipLayers(load_clip(str(self.inputs["clip"].folder("clip")), None)))
        if perceptual.trunk_weights is None:
            raise UserError(
                "distill.perceptual.trunk_weights: null; expected a file with torchvision's weights of the trunk"
            )
        try:
            return Lpips(perceptual.network, Path(perceptual.trunk_weights))
        except (FileNotFoundError, RuntimeError) as error:
            raise UserError(f"distill.perceptual.trunk_weights: {error}") from error

    def finish(self, units: Units) -> StageResult:
        """Nothing but the seed: the curve is a file."""
        return StageResult(seeds={"distill": self.config.seed})
