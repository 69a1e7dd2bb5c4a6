"""What an evaluation consists of: cells, each a model at one number of solver steps, in shards of pictures."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tasks.roles import Role
from tasks.sections import EvaluateJob, Judging


@dataclass(frozen=True)
class Cell:
    """A model with the way it is sampled; ``is_swept``: it is measured at several guidance scales.

    Pictures that were drawn elsewhere have no steps, no guidance and no solver.
    """

    role: Role
    steps: int | None
    guidance: float | None
    solver: str | None
    is_swept: bool = False

    @property
    def name(self) -> str:
        """E.g. ``2-rf-4``, of several guidance scales ``teacher-25-g7.5``; the ids of its units begin with it."""
        told = [self.role.name] if self.steps is None else [self.role.name, str(self.steps)]
        return "-".join([*told, f"g{self.guidance!r}".removesuffix(".0")] if self.is_swept else told)

    @property
    def label(self) -> str:
        """How it is sampled, for people: ``1 step``, ``25 steps, guidance 7.5``."""
        if self.steps is None:
            return "as they are"
        steps = f"{self.steps} step{'' if self.steps == 1 else 's'}"
        return f"{steps}, guidance {self.guidance:g}" if self.is_swept else steps


def present(config: EvaluateJob, inputs: Collection[str]) -> list[Role]:
    """The roles that there are models for, in the order of the table."""
    return [role for role in config.roles if role.input in inputs]


def simulated(config: EvaluateJob, inputs: Collection[str]) -> list[Role]:
    """The roles whose paths from noise to latent have a straightness."""
    return [role for role in present(config, inputs) if role.sampling in ("teacher", "flow")]


def cells(config: EvaluateJob, inputs: Collection[str]) -> list[Cell]:
    """All cells; a model comes after the one that it is compared with.

    A model's first cell is what others are compared with: ``teacher_steps``, at the guidance that is its own.
    """
    return [cell for role in present(config, inputs) for cell in _cells_of(role, config)]


def _cells_of(role: Role, config: EvaluateJob) -> list[Cell]:
    if role.sampling == "drawn":
        return [Cell(role, None, None, None)]
    if role.sampling == "one_step":
        return [Cell(role, 1, 1.0, "euler")]
    most = config.teacher_steps
    steps = [most, *sorted({*config.steps} - {most}, reverse=True)]
    solver = config.teacher_solver if role.sampling == "teacher" else "euler"
    scales = _scales(role, config)
    return [Cell(role, count, scale, solver, len(scales) > 1) for count in steps for scale in scales]


def first_of(role: str, found: Sequence[Cell]) -> Cell:
    """The first cell of a role, by its name."""
    return next(cell for cell in found if cell.role.name == role)


def _scales(role: Role, config: EvaluateJob) -> list[float]:
    """The guidance scales that a role is measured at, its own first."""
    own = guidance_of(role, config)
    return [own, *(scale for scale in config.guidances if scale != own)] if role.sampling == "teacher" else [own]


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
