"""What a model's networks cost, counted from the configs in its folder: light, a plan reads nothing else.

A multiplication and an addition are two FLOP, as torch's FlopCounterMode counts (the test compares them); norms,
activations and the text encoder, less than 1%, are not counted.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

TOKENS = 77
"""Of a prompt as CLIP's text encoders take it."""

VGG_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Channels of VGG-16's convolutions, the trunk of LPIPS; each stage has half the side of the one before."""

_BLOCKS = {"DownBlock2D", "CrossAttnDownBlock2D", "UpBlock2D", "CrossAttnUpBlock2D", "UNetMidBlock2DCrossAttn"}


@dataclass(frozen=True)
class ModelCost:
    """FLOP for one sample at the model's own size: a forward pass of the network, a decoding, two pictures compared.

    `parameters` are the network's; `latent_elements` the numbers of a latent.
    """

    forward: float
    decode: float
    compare: float
    parameters: int
    latent_elements: int

    @property
    def stacked(self) -> ModelCost:
        """Two of the network in series (but for two small blocks)."""
        return replace(self, forward=2 * self.forward, parameters=2 * self.parameters)


@dataclass
class Count:
    """FLOP and parameters of one sample's way through a network's layers."""

    flop: float = 0.0
    parameters: int = 0

    def conv(self, before: int, after: int, side: int, kernel: int = 3) -> None:
        """A convolution whose output has that side."""
        self.linear(before * kernel**2, after, side**2)

    def linear(self, before: int, after: int, rows: int = 1, bias: bool = True) -> None:
        """A matrix applied to so many rows."""
        self.flop += 2 * before * after * rows
        self.parameters += before * after + bias * after

    def norm(self, channels: int) -> None:
        """A normalisation with scale and shift."""
        self.parameters += 2 * channels

    def resnet(self, before: int, after: int, side: int, time: int = 0) -> None:
        """A ResnetBlock2D, told the time by an embedding of so many channels; 0 is none."""
        self.norm(before)
        self.conv(before, after, side)
        if time:
            self.linear(time, after)
        self.norm(after)
        self.conv(after, after, side)
        if before != after:
            self.conv(before, after, side, kernel=1)

    def attention(self, width: int, rows: int, told: int, told_rows: int, bias: bool = False) -> None:
        """Queries of `rows`, keys and values of `told_rows` with `told` channels, and the output's matrix."""
        self.linear(width, width, rows, bias)
        self.linear(told, width, told_rows, bias)
        self.linear(told, width, told_rows, bias)
        self.flop += 4 * width * rows * told_rows
        self.linear(width, width, rows)

    def transformer(self, width: int, side: int, told: int, layers: int) -> None:
        """A Transformer2DModel: self-attention, attention to the text, a gated feed-forward, so many times."""
        rows = side**2
        self.norm(width)
        self.linear(width, width, rows)
        for _ in range(layers):
            for _ in range(3):
                self.norm(width)
            self.attention(width, rows, width, rows)
            self.attention(width, rows, told, TOKENS)
            self.linear(width, 8 * width, rows)
            self.linear(4 * width, width, rows)
        self.linear(width, width, rows)


def unet(config: Mapping[str, Any]) -> Count:
    """A UNet2DConditionModel's forward pass, two of them for a StackedUNet. Raises ValueError for other blocks."""
    told = _Told(config)
    channels, side, time = told.channels, int(config["sample_size"]), 4 * told.channels[0]
    count = Count()
    count.conv(int(config["in_channels"]), channels[0], side)
    count.linear(channels[0], time)
    count.linear(time, time)
    if config.get("addition_embed_type") == "text_time":
        count.linear(int(config["projection_class_embeddings_input_dim"]), time)
        count.linear(time, time)
    side = _down(count, told, side, time)
    count.resnet(channels[-1], channels[-1], side, time)
    count.transformer(channels[-1], side, told.text[-1], told.layers[-1])
    count.resnet(channels[-1], channels[-1], side, time)
    side = _up(count, told, side, time)
    count.norm(channels[0])
    count.conv(channels[0], int(config["out_channels"]), side)
    return count


class _Told:
    """The parts of a U-Net's config that are one number or one a block."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.down, self.up = list(config["down_block_types"]), list(config["up_block_types"])
        self.channels = list(map(int, config["block_out_channels"]))
        kinds = {*self.down, *self.up, config.get("mid_block_type", "UNetMidBlock2DCrossAttn")}
        if unknown := sorted(map(str, kinds - _BLOCKS)):
            raise ValueError(f"blocks that are not counted: {', '.join(unknown)}")
        self.text = self._each(config["cross_attention_dim"])
        self.layers = self._each(config.get("transformer_layers_per_block", 1))
        self.resnets = self._each(config["layers_per_block"])

    def _each(self, value: Any) -> list[int]:
        return [int(value)] * len(self.down) if isinstance(value, int) else list(map(int, value))


def _down(count: Count, told: _Told, side: int, time: int) -> int:
    before = told.channels[0]
    for block, (kind, after) in enumerate(zip(told.down, told.channels, strict=True)):
        for _ in range(told.resnets[block]):
            count.resnet(before, after, side, time)
            before = after
            if kind.startswith("CrossAttn"):
                count.transformer(after, side, told.text[block], told.layers[block])
        if block < len(told.down) - 1:
            side = math.ceil(side / 2)
            count.conv(after, after, side)
    return side


def _up(count: Count, told: _Told, side: int, time: int) -> int:
    channels, last = told.channels[::-1], len(told.up) - 1
    before = channels[0]
    for block, (kind, after) in enumerate(zip(told.up, channels, strict=True)):
        resnets, mirrored = told.resnets[::-1][block] + 1, len(told.up) - 1 - block
        for number in range(resnets):
            skipped = channels[min(block + 1, last)] if number == resnets - 1 else after
            count.resnet(before + skipped, after, side, time)
            before = after
            if kind.startswith("CrossAttn"):
                count.transformer(after, side, told.text[mirrored], told.layers[mirrored])
        if block < last:
            side *= 2
            count.conv(after, after, side)
    return side


def decoder(config: Mapping[str, Any], side: int) -> Count:
    """The decoder of an AutoencoderKL, for latents of that side."""
    channels, latent = list(map(int, config["block_out_channels"]))[::-1], int(config["latent_channels"])
    count, before = Count(), channels[0]
    if config.get("use_post_quant_conv", True):
        count.conv(latent, latent, side, kernel=1)
    count.conv(latent, before, side)
    count.resnet(before, before, side)
    if config.get("mid_block_add_attention", True):
        count.norm(before)
        count.attention(before, side**2, before, side**2, bias=True)
    count.resnet(before, before, side)
    for block, after in enumerate(channels):
        for _ in range(int(config["layers_per_block"]) + 1):
            count.resnet(before, after, side)
            before = after
        if block < len(channels) - 1:
            side *= 2
            count.conv(after, after, side)
    count.norm(before)
    count.conv(before, int(config["out_channels"]), side)
    return count


def compared(side: int) -> Count:
    """LPIPS of two pictures of that side: VGG-16's convolutions, twice."""
    count, before = Count(), 3
    for stage, channels in enumerate(VGG_STAGES):
        for after in channels:
            count.conv(before, after, side >> stage)
            before = after
    return Count(2 * count.flop, count.parameters)


def model_cost(folder: Path) -> ModelCost | None:
    """The cost of the model in a diffusers folder; None for one whose networks are not known here."""
    try:
        network, vae = (json.loads((folder / part / "config.json").read_text()) for part in ("unet", "vae"))
        side = int(network["sample_size"])
        pixels = side * 2 ** (len(vae["block_out_channels"]) - 1)
        one, decoding = unet(network), decoder(vae, side)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    elements = int(network["in_channels"]) * side**2
    cost = ModelCost(one.flop, decoding.flop, compared(pixels).flop, one.parameters, elements)
    return cost.stacked if network.get("_class_name") == "StackedUNet" else cost
