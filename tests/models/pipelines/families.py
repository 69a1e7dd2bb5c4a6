"""Families with two CLIP text encoders: what differs where they are tested alike, and what stock diffusers draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from tests.models import untrained
from tests.models.pipelines import tiny

TOLERANCE = 1e-5
"""Of the scale of a latent: ours and stock's are the same arithmetic in another order."""


@dataclass(frozen=True)
class Family:
    """``save`` writes an untrained teacher, ``network`` is what it calls at each step, ``solver`` is one of its own.

    ``noise`` is that of its latents, of a count and, if it is not 0, a seed.
    """

    save: Callable[[Path], Path]
    network: str
    solver: str
    noise: Callable[..., Tensor]

    def drawn(self, pipeline: Any, steps: int, guidance: float, output: str = "latent", **more: Any) -> Any:
        """What the stock pipeline makes of the first two captions and noises."""
        return pipeline(
            untrained.captions(2),
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=self.noise(2),
            output_type=output,
            **more,
        ).images


def _noise(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 16, 8, 8, generator=torch.Generator().manual_seed(seed))


XL = Family(tiny.stable_diffusion_xl, "unet", "dpmsolver++", untrained.noise)
SD3 = Family(tiny.stable_diffusion_3, "transformer", "heun", _noise)


def stock(folder: Path, **parts: Any) -> Any:
    """The stock pipeline that the folder says it is of."""
    pipeline = DiffusionPipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def gap(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the latents' own scale."""
    return float((ours - theirs).abs().max() / theirs.std())
