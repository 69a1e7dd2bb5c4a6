"""The counts from configs are what torch counts, on networks that hold no numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

from models.flops import ModelCost, compared, decoder, model_cost, unet
from models.stacked_unet import StackedUNet
from tests import ROOT

SD15 = {"sample_size": 64, "cross_attention_dim": 768}
SD21 = {
    "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
    "use_linear_projection": True,
}  # fmt: skip
SDXL = {
    "sample_size": 128, "cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "use_linear_projection": True,
    "block_out_channels": [320, 640, 1280], "transformer_layers_per_block": [1, 2, 10],
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
}  # fmt: skip
MINI = json.loads((ROOT / "models/mini/weights/teacher/unet/config.json").read_text())
VAE = {
    "latent_channels": 4, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
    "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
}  # fmt: skip


def counted(network: torch.nn.Module, *args: Any, **kwargs: Any) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(*args, **kwargs)
    return counter.get_total_flops()


def forward(network: UNet2DConditionModel) -> int:
    config = network.config
    added = {"text_embeds": torch.empty(1, 1280, device="meta"), "time_ids": torch.empty(1, 6, device="meta")}
    x = torch.empty(1, 4, config.sample_size, config.sample_size, device="meta")
    text = torch.empty(1, 77, config.cross_attention_dim, device="meta")
    return counted(network, x, torch.zeros(1, device="meta"), text, added_cond_kwargs=added)


@pytest.mark.parametrize(
    ("config", "tflop", "millions"),
    [(SD15, 0.803, 859.5), (SD21, 2.149, 865.9), (SDXL, 6.761, 2567.5), (MINI, 4.73e-5, 1.0018)],
)
def test_a_u_net_is_counted_as_torch_counts_it(config: Mapping[str, Any], tflop: float, millions: float) -> None:
    with torch.device("meta"):
        network = UNet2DConditionModel.from_config(dict(config))
    count = unet(network.config)
    assert count.parameters == sum(parameter.numel() for parameter in network.parameters())
    assert count.flop == pytest.approx(forward(network), rel=1e-3)
    assert (count.flop / 1e12, count.parameters / 1e6) == (
        pytest.approx(tflop, rel=2e-3),
        pytest.approx(millions, 0.01),
    )


def test_a_stack_of_two_costs_twice_as_much() -> None:
    with torch.device("meta"):
        one, two = UNet2DConditionModel(**SD15), StackedUNet(**SD15)
    assert forward(two) == pytest.approx(2 * forward(one), rel=1e-3)


def test_the_decoder_and_lpips_are_counted_as_torch_counts_them() -> None:
    with torch.device("meta"):
        vae, trunk = AutoencoderKL(**VAE), torchvision.models.vgg16(weights=None).features
    latent, picture = torch.empty(1, 4, 64, 64, device="meta"), torch.empty(2, 3, 512, 512, device="meta")
    found = decoder(vae.config, 64)
    assert found.parameters == sum(p.numel() for part in (vae.decoder, vae.post_quant_conv) for p in part.parameters())
    assert found.flop == pytest.approx(counted(vae.decode, latent), rel=1e-3)  # type: ignore[arg-type]
    assert compared(512).flop == pytest.approx(counted(trunk, picture), rel=1e-3)
    assert (found.flop / 1e12, compared(512).flop / 1e12) == (pytest.approx(2.515, 0.01), pytest.approx(0.321, 0.01))


def test_a_folder_says_what_its_model_costs(tmp_path: Path) -> None:
    cost = model_cost(ROOT / "models/mini/weights/teacher")
    assert cost is not None and cost.latent_elements == 256 and cost.parameters == 1_001_828
    (tmp_path / "unet").mkdir()
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({**VAE, "out_channels": 3}))
    config = {**MINI, "_class_name": "StackedUNet"}
    (tmp_path / "unet" / "config.json").write_text(json.dumps(config))
    stacked = model_cost(tmp_path)
    assert stacked is not None and stacked.forward == 2 * cost.forward


@pytest.mark.parametrize("change", [{"sample_size": None}, {"mid_block_type": None}, {"down_block_types": ["New"]}])
def test_a_network_that_is_not_known_has_no_price(change: dict[str, Any], tmp_path: Path) -> None:
    assert model_cost(tmp_path) is None
    for part, config in (("unet", {**MINI, **change}), ("vae", VAE)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    assert model_cost(tmp_path) is None


def test_a_stack_is_two_networks() -> None:
    cost = ModelCost(1.0, 2.0, 3.0, 4, 5)
    assert cost.stacked == ModelCost(2.0, 2.0, 3.0, 8, 5)
