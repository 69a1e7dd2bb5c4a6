"""What an evaluation consists of: cells, each a model at one number of solver steps, in shards of pictures."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from tasks.roles import Role
from tasks.sections import EvaluateJob, Judging


@dataclass(frozen=True)
class Cell:
    """A model with the way it is sampled."""

    role: Role
    steps: int
    guidance: float
    solver: str

    @property
    def name(self) -> str:
        """E.g. ``2-rf-4``; the ids of its units begin with it."""
        return f"{self.role.name}-{self.steps}"


def present(config: EvaluateJob, inputs: Collection[str]) -> list[Role]:
    """The roles that there are models for, in the order of the table."""
    return [role for role in config.roles if role.input in inputs]


def simulated(config: EvaluateJob, inputs: Collection[str]) -> list[Role]:
    """The roles whose paths from noise to latent have a straightness."""
    return [role for role in present(config, inputs) if role.sampling != "one_step"]


def cells(config: EvaluateJob, inputs: Collection[str]) -> list[Cell]:
    """All cells; a model comes after the one that it is compared with, which takes ``teacher_steps``."""
    return [cell for role in present(config, inputs) for cell in _cells_of(role, config)]


def _cells_of(role: Role, config: EvaluateJob) -> list[Cell]:
    if role.sampling == "one_step":
        return [Cell(role, 1, 1.0, "euler")]
    most = config.teacher_steps
    steps = [most, *sorted({*config.steps} - {most}, reverse=True)]
    solver = config.teacher_solver if role.sampling == "teacher" else "euler"
    return [Cell(role, count, guidance_of(role, config), solver) for count in steps]


def guidance_of(role: Role, config: EvaluateJob) -> float:
    """The guidance that a role is simulated with."""
    return config.teacher_guidance if role.sampling == "teacher" else config.rectified_guidance


def captions_needed(config: Judging) -> int:
    """How many captions, each of a picture of its own, the evaluation takes: its own and those of the reference."""
    return config.num_images * (1 if config.reference == "none" else 2)


def too_few_captions(config: Judging, captions: int, file: str) -> str | None:
    """What is wrong with so many pictures with captions, beginning with the field's name; None when they do."""
    needed, count = captions_needed(config), config.num_images
    if captions >= needed:
        return None
    half = ", half of them for the reference" if needed > count else ""
    or_none = ' or evaluate.reference to "none"' if half and count <= captions else ""
    return (
        f"num_images: {count} pictures need {needed} captions{half}, and {file} holds {captions}. Set num_images to"
        f" {captions * count // needed} or less{or_none}, or name a larger caption file."
    )


def sets_of_pictures(config: EvaluateJob) -> tuple[str, ...]:
    """What is sampled beside the cells: the teacher's pictures of other captions, if they are asked for."""
    return () if config.reference == "none" else ("reference",)


def shards(config: EvaluateJob) -> list[range]:
    """The evaluated pictures by number, in shards."""
    count, size = config.num_images, config.shard_size
    return [range(start, min(start + size, count)) for start in range(0, count, size)]


def real_shards(config: Judging, count: int) -> list[range]:
    """So many real pictures or captions by number, in as many shards as the captions take, whatever their number."""
    parts = math.ceil(captions_needed(config) / config.shard_size)
    return [range(count * part // parts, count * (part + 1) // parts) for part in range(parts)]


def shard_id(name: str, number: int) -> str:
    """The unit of a shard of a cell, e.g. ``2-rf-4.00000``."""
    return f"{name}.{number:05d}"


LATENCY_ROUNDS = 15
"""Rounds in which every cell draws one picture."""

SPEED = "speed"
"""The unit of all cells' times: they are measured in turns."""


def straightness_id(role: Role) -> str:
    """The unit of a role's straightness."""
    return f"straightness-{role.name}"
