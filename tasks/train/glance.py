"""How a network in training draws a handful of the pairs it learns from: two numbers and a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.pipelines.text_to_image import TextToImage
from models.solvers import straightness
from tasks.data.looks import decoded
from tasks.data.strip import sheet
from tasks.sections import Precision
from tasks.train.pair_sets import PairSets
from tasks.train.precision import autocast

PAIRS, PICTURES, SIDE = 16, 8, 128
"""Pairs that are drawn; those shown; pixels per side of one in the sheet."""
STEPS = 8
"""Euler steps along which straightness is measured."""


@dataclass(frozen=True)
class Glance:
    """What was seen. `sheet` is a WebP: above what the pairs hold, below what the network draws of their noise."""

    distance_to_own_teacher: float
    straightness: float | None
    sheet: bytes


@dataclass
class Glancing:
    """Looks at the first pairs of a set. `is_flow`: whether the network learns a path, which can be straight."""

    model: TextToImage
    pairs: PairSets
    precision: Precision
    is_flow: bool
    _theirs: list[Image.Image] = field(default_factory=list)

    @torch.no_grad()
    def __call__(self) -> Glance:
        """Draw them in one step. Raises UserError for damaged pairs, StoreError."""
        noise, latent, prompts = self.pairs.batch(np.arange(min(PAIRS, len(self.pairs))))
        solver = "ddim" if self.model.parameterization == "diffusion" else "euler"
        with autocast(self.model, self.precision):
            drawn = self.model.sample(noise, prompts, 1, 1.0, solver)
            s = self._straightness(noise, prompts) if self.is_flow and solver == "euler" else None
        self._theirs = self._theirs or decoded(self.model, latent[:PICTURES])
        rows = [self._theirs, decoded(self.model, drawn[:PICTURES])]
        return Glance((drawn - latent).square().mean().item(), s, sheet(rows, SIDE))

    def _straightness(self, noise: Tensor, prompts: Sequence[str]) -> float:
        noise = noise.to(self.model.device)
        values, _ = straightness(self.model.velocity(), noise, self.model.encode(prompts), STEPS)
        return values.mean().item()


Look = Callable[[], Glance]
