"""Whether this machine computes the bits that the golden digests were made with; it asks nothing of this project."""

from __future__ import annotations

import hashlib

import torch
from diffusers import UNet2DConditionModel


def arithmetic() -> str:
    """A hash of two training steps of a small U-Net on one thread: another CPU or torch may round otherwise."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _two_steps()
    finally:
        torch.set_num_threads(threads)


def _two_steps() -> str:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=4,
        norm_num_groups=8,
    ).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, fused=True)
    x, text, timestep = torch.randn(8, 4, 8, 8), torch.randn(8, 24, 64), torch.linspace(0, 1000, 8)
    for _ in range(2):
        optimizer.zero_grad()
        unet(x, timestep, encoder_hidden_states=text).sample.square().mean().backward()
        optimizer.step()
    digest = hashlib.sha256()
    for parameter in unet.parameters():
        digest.update(parameter.detach().contiguous().numpy().tobytes())
    return digest.hexdigest()
