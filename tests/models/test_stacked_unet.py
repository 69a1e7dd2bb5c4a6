"""Two U-Nets in series: the same picture at first, every parameter trained, a folder like any other."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from models.pipelines.opening import open_pipeline
from models.pipelines.training import stack, trainable
from models.stacked_unet import StackedUNet
from tests import ROOT
from tests.models.untrained import captions, noise

SD15 = {"sample_size": 64, "cross_attention_dim": 768}


def unet(**changes: object) -> UNet2DConditionModel:
    torch.manual_seed(0)
    config: dict[str, object] = {
        "sample_size": 8, "layers_per_block": 1, "block_out_channels": (32, 64), "cross_attention_dim": 16,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 4, "norm_num_groups": 8,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    return UNet2DConditionModel(**{**config, **changes}).eval()


def told() -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 8, 8, generator=rng), torch.tensor([1000.0, 3.5]), torch.randn(2, 7, 16, generator=rng)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"up_block_types": ("CrossAttnUpBlock2D",) * 2, "down_block_types": ("CrossAttnDownBlock2D",) * 2},
        {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"), "use_linear_projection": True, "layers_per_block": 2},
    ],
)
def test_at_first_it_computes_what_the_one_computes(changes: dict[str, object]) -> None:
    one = unet(**changes)
    two = StackedUNet.of(one)
    assert torch.equal(two(*told()).sample, one(*told()).sample)
    assert torch.equal(two(*told(), return_dict=False)[0], one(*told()).sample)


def test_it_is_two_networks_of_their_own_without_the_blocks_between() -> None:
    one = unet()
    before = [p.clone() for p in one.parameters()]
    two = StackedUNet.of(one)
    dropped = sum(p.numel() for part in (one.conv_in, one.conv_norm_out, one.conv_out) for p in part.parameters())
    assert two.num_parameters() == 2 * one.num_parameters() - dropped
    with torch.no_grad():
        for parameter in two.parameters():
            parameter.add_(1.0)
    assert all(torch.equal(p, old) for p, old in zip(one.parameters(), before, strict=True)), "copies"


def test_of_stable_diffusion_it_has_the_papers_size() -> None:
    with torch.device("meta"):
        parameters = StackedUNet(**SD15).num_parameters()
    assert parameters == 1_719_017_924, "InstaFlow-1.7B"


def test_gradient_reaches_every_parameter_and_it_learns() -> None:
    two = StackedUNet.of(unet()).train()
    target, losses = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(2)), []
    optimizer = torch.optim.AdamW(two.parameters(), lr=1e-3)
    for _ in range(12):
        optimizer.zero_grad()
        loss = (two(*told()).sample - target).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    # From the second step on: at first nothing but the handed on input leaves the first network.
    assert all(p.grad is not None and p.grad.isfinite().all() and (p.grad != 0).any() for p in two.parameters())
    assert losses[-1] < 0.5 * losses[0]


def test_saved_and_loaded_it_is_the_same_without_a_pickle(tmp_path: Path) -> None:
    two = StackedUNet.of(unet())
    with torch.no_grad():
        two.first.mid_block.resnets[0].conv1.weight.add_(0.1)
        two.first.up_blocks[-1].resnets[-1].conv2.weight.add_(0.1)
    two.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "diffusion_pytorch_model.safetensors"}
    assert json.loads((tmp_path / "config.json").read_text())["_class_name"] == "StackedUNet"
    again = StackedUNet.from_pretrained(tmp_path)
    assert torch.equal(again(*told()).sample, two(*told()).sample)
    assert not torch.equal(again(*told()).sample, unet()(*told()).sample)


def test_what_a_controlnet_adds_is_added_to_the_second() -> None:
    one, two = unet(), StackedUNet.of(unet())
    more = {
        "down_block_additional_residuals": tuple(
            torch.ones(2, c, s, s) for c, s in ((32, 8), (32, 8), (32, 4), (64, 4))
        ),
        "mid_block_additional_residual": torch.ones(2, 64, 4, 4),
    }
    torch.testing.assert_close(two(*told(), **more).sample, one(*told(), **more).sample)


STOCK = """
import sys
import torch
import models.stacked_unet
from diffusers import StableDiffusionPipeline
from tests.models.untrained import captions, noise

pipeline = StableDiffusionPipeline.from_pretrained(sys.argv[1])
drawn = pipeline(
    captions(2), latents=noise(2), num_inference_steps=int(sys.argv[2]), guidance_scale=1.0, output_type="latent"
).images
torch.save(drawn, sys.argv[3])
"""


@pytest.mark.parametrize("steps", [1, 2])
def test_stock_diffusers_draws_from_its_folder_what_we_draw(steps: int, teacher_folder: Path, tmp_path: Path) -> None:
    model = open_pipeline(teacher_folder)
    stack(model)
    trainable(model, "raw")
    with torch.no_grad():
        model.denoiser.get_parameter("first.conv_in.weight").mul_(1.5)
    model.save(tmp_path / "model")
    assert json.loads((tmp_path / "model/model_index.json").read_text())["unet"] == [
        "models.stacked_unet",
        "StackedUNet",
    ]
    again = open_pipeline(tmp_path / "model")
    assert isinstance(again.denoiser, StackedUNet) and again.parameterization == "raw"
    ours = again.sample(noise(2), captions(2), steps, 1.0, "euler")

    command = [sys.executable, "-c", STOCK, str(tmp_path / "model"), str(steps), str(tmp_path / "drawn.pt")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    torch.testing.assert_close(torch.load(tmp_path / "drawn.pt"), ours, atol=1e-4, rtol=1e-4)
