"""DINOv2's features, of which FD-DINOv2 is taken (Stein et al., NeurIPS 2023), from a local transformers folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from transformers import Dinov2Model

from models.judges.pixels import IMAGENET, accelerator, full_precision, normalised, pictures_at
from models.known_weights import check_dinov2
from models.resizing import Resize

TAKES = Resize(224, "bicubic")
"""As published: 16 x 16 patches of 14 pixels, whatever side the weights were made at."""


class DinoV2:
    """Pictures uint8 [B, 3, H, W] of any size -> the class token after the last norm, float32 [B, D] on the CPU.

    D is 1024 for the published choice, dinov2-large. Raises FileNotFoundError without the folder's config.json or
    weights, ValueError when they are another network's.
    """

    def __init__(self, folder: Path, device: torch.device | None = None) -> None:
        check_dinov2(folder)
        self.device = device or accelerator()
        try:
            model, told = Dinov2Model.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        except (OSError, RuntimeError) as error:
            raise ValueError(f"dinov2 weights: {folder} does not load: {error}") from error
        absent = sorted({*told["missing_keys"], *(key for key, *_ in told["mismatched_keys"])})
        if absent:  # transformers would make them up
            raise ValueError(f"dinov2 weights: {folder} lacks {len(absent)} tensors of the network, first {absent[0]}")
        self.model = model.eval().requires_grad_(False).to(self.device)

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        pixels = normalised(pictures_at(pictures, TAKES), *IMAGENET, self.device)
        with full_precision():
            return self.model(pixels).pooler_output.float().cpu()
