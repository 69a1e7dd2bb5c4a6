"""From pictures to what a network takes: its size by its own filter, its range, on its device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from models.parallel import in_order
from models.resizing import Resize, resized

Features = Callable[[Tensor], Tensor]
"""features(uint8 pictures [B, 3, H, W] of any size) -> float32 [B, D] on the CPU."""

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of torchvision's networks."""


def accelerator() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def full_precision() -> Iterator[None]:
    """Convolutions in fp32: cuDNN's own choice, TF32, keeps three digits of a feature."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, allow_tf32=False):
        yield


def as_pictures(pictures: Tensor) -> Tensor:
    """The pictures themselves. Raises ValueError for anything but uint8 [B, 3, H, W]."""
    if pictures.dtype != torch.uint8 or pictures.dim() != 4 or pictures.shape[1] != 3:
        found = f"{str(pictures.dtype).removeprefix('torch.')} {list(pictures.shape)}"
        raise ValueError(f"pictures: {found}; a judge takes uint8 [B, 3, H, W], 0 to 255, RGB")
    return pictures


def through(pictures: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """What a Pillow function makes of each picture, on a few threads: uint8 [B, 3, h, w] on the CPU."""

    def changed(pixels: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(change(Image.fromarray(pixels)))).permute(2, 0, 1)

    arrays = as_pictures(pictures).cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return torch.stack(list(in_order(changed, arrays)))


def pictures_at(pictures: Tensor, to: Resize) -> Tensor:
    """Pictures resized as files are (models/resizing.py); those of that size are left alone."""
    if as_pictures(pictures).shape[2:] == (to.size, to.size):
        return pictures
    return through(pictures, lambda picture: resized(picture, to))


def normalised(pictures: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """(pictures / 255 - mean) / std, float32 on the device; torchvision's ToTensor and Normalize, for a batch."""
    pixels = pictures.to(device).float().div_(255)
    shift, scale = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (mean, std))
    return pixels.sub_(shift).div_(scale)


def fitted(pixels: Tensor, size: int) -> Tensor:
    """Pixels [B, C, H, W] at `size` a side, bicubic and antialiased, with a gradient; those of that size untouched."""
    if pixels.shape[2:] == (size, size):
        return pixels
    return F.interpolate(pixels, (size, size), mode="bicubic", antialias=True)
