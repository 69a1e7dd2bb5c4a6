"""Stages `distill` and `direct`: one step, noise -> latent, that does what an ODE solve did (paper, equation 6)."""

import time

from torch import Tensor

from infra.artifact import Source
from infra.errors import UserError
from models.losses import LatentDistance, distillation_loss, latent_distance, pictured_huber
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import stack, student_velocity, trainable
from tasks.data.load import load_model
from tasks.order import derive_seed
from tasks.sections import Distill, DistillPhase
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Group, Phase
from tasks.train.batches import Batches
from tasks.train.fit import At, CurvePoint, FitPlan, fit
from tasks.train.glance import Glancing
from tasks.train.live import Live
from tasks.train.pair_sets import PairSets
from tasks.train.perceptual import pictures_of
from tasks.train.precision import autocast
from tasks.train.reflow import commit_model


class Distillation(StageWork[Distill]):
    """Commits the tree ``model``, a one-step student in diffusers' format, and the training curve of all phases.

    The guidance of the pairs is baked in: the student runs with none. On the teacher's own pairs it is the baseline
    without reflow of the paper's table 2.
    """

    def make(self, group: Group) -> None:
        """Train the student, phase after phase."""
        started = time.monotonic()
        model = self._start(self.inputs["teacher"])
        pairs = PairSets([self.inputs[role] for role in ("pairs", "more_pairs") if role in self.inputs])
        phases = zip(self.work.extent.phases, self.config.phases, strict=True)
        curves = [self._train(model, pairs, phase, told) for phase, told in phases]
        commit_model(model, curves, self.out, started)

    def _start(self, teacher: Source) -> TextToImage:
        model = load_model(teacher)
        try:
            if self.config.architecture == "stacked":
                stack(model)
            return trainable(model, self.config.parameterization)
        except ValueError as error:
            raise UserError(f"{self.out.stage}: {error}") from error

    def _train(self, model: TextToImage, pairs: PairSets, phase: Phase, told: DistillPhase) -> list[CurvePoint]:
        config, distance = self.config, self.distance(told, model)
        seed, velocity = derive_seed(config.seed, "distill", phase.name), student_velocity(model)
        batches = Batches(pairs, seed, phase.batch_size, config.shuffle_shards)

        def loss(at: At) -> Tensor:
            noise, latent, prompts = batches(at.step, at.rows)
            condition, noise, latent = model.encode(prompts), noise.to(model.device), latent.to(model.device)
            with autocast(model, config.precision):
                return distillation_loss(velocity, noise, latent, condition, distance)

        micro = self.work.performance.micro_batch_size
        plan = FitPlan.of(config, phase, pairs.digest, told.learning_rate, seed, micro)
        look = Glancing(model, pairs, config.precision, is_flow=False)
        return fit(model.denoiser, loss, plan, self.work, watch=Live(config, phase.name, self.out, look))

    def distance(self, phase: DistillPhase, model: TextToImage) -> LatentDistance:
        """The phase's D. Raises UserError for weights of a perceptual network that are missing or another's."""
        if not phase.compares_pictures:
            return latent_distance(phase.loss)
        clip, weight = self.inputs.get("clip"), phase.latent_weight
        pictures = pictures_of(model, self.config.perceptual, clip, self.out.stage, weight)
        return pictured_huber(pictures) if phase.loss == "lpips_huber" else pictures

    def finish(self, units: Units) -> StageResult:
        """Nothing but the seed: the curve is a file."""
        return StageResult(seeds={"distill": self.config.seed})
