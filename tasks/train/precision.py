"""The number format in which a training computes."""

from __future__ import annotations

import torch

from models.pipelines.text_to_image import TextToImage
from tasks.sections import Precision


def autocast(model: TextToImage, precision: Precision) -> torch.autocast:
    """bf16 in the forward and backward pass where the recipe asks for it; weights stay fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=precision == "bf16")
