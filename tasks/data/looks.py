"""A look at what a shard holds and at what was rejected, decoded while the model is at hand: nobody else has it.

The pictures are volatile: shown by pages, no part of what a shard is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from models.pipelines.text_to_image import TextToImage
from tasks.data.strip import SIDE, side_by_side

SHOWN = 8
"""Latents that are decoded, of those that are kept and of those that are not."""
_log = logging.getLogger(__name__)


@dataclass
class Look:
    """The first latents of a kind, kept until they are drawn."""

    latents: list[Tensor] = field(default_factory=list)

    def see(self, latent: Tensor) -> None:
        """Keep it, if it is among the first."""
        if len(self.latents) < SHOWN:
            self.latents.append(latent)

    def draw(self, model: TextToImage, path: Path) -> Iterator[Path]:
        """The path, where the pictures have been written to it: not without a latent, or room on the GPU to decode."""
        try:
            pictures = decoded(model, self.latents)
        except torch.OutOfMemoryError as error:  # a look is worth no run
            _log.warning("no picture of %s: %s", path.stem, error)
            return
        if pictures:
            path.write_bytes(side_by_side(pictures, 2 * SIDE))
            yield path


def decoded(model: TextToImage, latents: Iterable[Tensor]) -> list[Image.Image]:
    """The pictures of latents, one at a time: what is looked at has to cost no memory. No number counts as zero."""
    pictures = (model.decode(latent[None].nan_to_num())[0] for latent in latents)
    return [Image.fromarray(picture.permute(1, 2, 0).numpy()) for picture in pictures]
