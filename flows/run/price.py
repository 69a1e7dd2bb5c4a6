"""What a stage's work costs whatever the machine: samples, floating-point operations, room."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from infra.recipe import Section
from models.flops import ModelCost
from tasks.evaluate.cells import Cell, cells, guidance_of, simulated
from tasks.sections import Distill, EvaluateJob, PairsJob, Perceptual, ReflowJob

DAY_S = 86_400
FLOAT32 = 4

TRAINED = 3
"""Forward passes that a training step costs a sample: one, and twice as much for the gradients."""

COMPARED_DECODES = 3
"""A student's picture with the gradient to its latent, whose weights need none, and the target's picture."""

COMPARED_PAIRS = 1.5
"""Both pictures through LPIPS' network, and the gradient to one of them."""

Models = Mapping[str, ModelCost]
"""By the input of a stage that the model is."""


@dataclass(frozen=True)
class Price:
    """Samples that go through the network, FLOP of all networks, bytes of what is kept; None: not known beforehand."""

    samples: int
    flop: float
    bytes: int | None = None


def price(config: Section, models: Models) -> Price | None:
    """The price of all of a stage's work; None for one that is not worth a price, and for a model that is not known.

    Judges, text encoders and the reading of pictures are not counted: together less than a forward pass.
    """
    if isinstance(config, EvaluateJob):
        return _evaluation(config, models) if models else None
    model = models.get("teacher")
    if model is None:
        return None
    if isinstance(config, PairsJob):
        return _pairs(config, model)
    if isinstance(config, ReflowJob):
        return _reflow(config, model)
    return _distill(config, trained(config, model)) if isinstance(config, Distill) else None


def trained(config: Section, teacher: ModelCost) -> ModelCost:
    """The cost of the model that a training leaves."""
    return teacher.stacked if isinstance(config, Distill) and config.architecture == "stacked" else teacher


def _guided(guidance: float) -> int:
    """Forward passes a step: without the prompt and with it."""
    return 1 if guidance == 1 else 2


def _pairs(config: PairsJob, model: ModelCost) -> Price:
    samples = config.samples or 0
    flop = samples * config.steps * _guided(config.guidance) * model.forward
    return Price(samples, flop, samples * 2 * model.latent_elements * FLOAT32)


def _reflow(config: ReflowJob, model: ModelCost) -> Price:
    samples = sum(phase.steps * phase.batch_size for phase in config.phases)
    pictures = _comparison(config.perceptual, model) if config.compares_pictures else 0
    return Price(samples, samples * (TRAINED * model.forward + pictures), model.parameters * FLOAT32)


def _distill(config: Distill, model: ModelCost) -> Price:
    samples, flop = 0, 0.0
    for phase in config.phases:
        pictures = _comparison(config.perceptual, model) if phase.compares_pictures else 0
        samples += phase.steps * phase.batch_size
        flop += phase.steps * phase.batch_size * (TRAINED * model.forward + pictures)
    return Price(samples, flop, model.parameters * FLOAT32)


def _comparison(perceptual: Perceptual, model: ModelCost) -> float:
    judged = COMPARED_PAIRS * model.compare if perceptual.kind == "lpips" else 0  # the small CLIP is next to nothing
    return COMPARED_DECODES * model.decode + judged


def _evaluation(config: EvaluateJob, models: Models) -> Price:
    measured = cells(config, models)
    sampled = [*measured, *([] if config.reference == "none" else measured[:1])]  # the reference: the teacher once more
    pictures = sum(_picture(cell, models[cell.role.input]) for cell in sampled)
    paths = sum(
        config.teacher_steps * _guided(guidance_of(role, config)) * models[role.input].forward
        for role in simulated(config, models)
    )
    return Price(config.num_images * len(sampled), config.num_images * pictures + config.straightness_images * paths)


def _picture(cell: Cell, model: ModelCost) -> float:
    return (cell.steps or 0) * _guided(cell.guidance or 1) * model.forward + model.decode
