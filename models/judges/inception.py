"""Inception's features, of which FID and KID are taken: torch-fidelity's network, two ways to its 299 pixels."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x

from models.judges.pixels import accelerator, as_pictures, full_precision
from models.parallel import in_order

SIDE = 299

InceptionResize = Literal["tensorflow", "clean"]
"""tensorflow: bilinear without antialias, within the network, as the FID always was (torch-fidelity, pytorch-fid's
numbers). clean: Pillow's bicubic with antialias, in floating point (clean-fid)."""


class Inception:
    """Pictures uint8 [B, 3, H, W] of any size -> the 2048 pooled features of InceptionV3, float32 on the CPU.

    Raises FileNotFoundError without the weights, ValueError when they are another network's.
    """

    def __init__(
        self, weights: Path, resize: InceptionResize = "tensorflow", device: torch.device | None = None
    ) -> None:
        network = _network(weights)
        # all but the last, which makes classes of the features; the children stand in the order they are called in
        self.trunk = nn.Sequential(*list(network.children())[:-1]).to(device or accelerator())
        self.resize, self.device = resize, device or accelerator()

    @torch.no_grad()
    def __call__(self, pictures: Tensor) -> Tensor:
        pixels = _clean(pictures) if self.resize == "clean" else as_pictures(pictures)
        pixels = pixels.to(self.device).float()
        if self.resize == "tensorflow":
            pixels = interpolate_bilinear_2d_like_tensorflow1x(pixels, size=(SIDE, SIDE), align_corners=False)
        with full_precision():
            return self.trunk((pixels - 128) / 128).flatten(1).cpu()


def _clean(pictures: Tensor) -> Tensor:
    """clean-fid's resizing: each channel in floating point, bicubic and antialiased: float32 [B, 3, 299, 299]."""

    def channel(values: np.ndarray) -> Tensor:
        picture = Image.fromarray(values.astype(np.float32)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        return torch.from_numpy(np.asarray(picture).clip(0, 255))

    channels = as_pictures(pictures).cpu().flatten(0, 1).numpy()
    return torch.stack(list(in_order(channel, channels))).view(len(pictures), 3, SIDE, SIDE)


def _network(weights: Path) -> Any:
    if not weights.is_file():
        raise FileNotFoundError(
            f"inception weights: no file {weights}; expected torch-fidelity's InceptionV3 state dict"
        )
    try:
        state, checked = torch.load(weights, map_location="cpu", weights_only=True), io.BytesIO()
        torch.save(state, checked)  # torch-fidelity would read the file again, and run any pickle in it
        checked.seek(0)
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=checked)
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, AttributeError) as error:
        text = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"inception weights: {weights} is no state dict of torch-fidelity's InceptionV3 ({text}); expected "
            "weights-inception-2015-12-05-6726825d.pth"
        ) from error
