"""A flow keeps what its teacher's users have: ControlNets, LoRAs, pictures to start from, negative prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionImg2ImgPipeline,
    StableDiffusionPipeline,
)
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import load_file
from torch import Tensor

from models.condition import Condition
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import euler, sigma_grid
from models.velocity import Network, guided, interpolate, raw
from tests.models.untrained import captions, noise

STEPS, GUIDANCE, NEGATIVE = 6, 2.5, "a small blue square"
TOLERANCE = 2e-3
"""Of the latents' norm: stock sigmas are up to a thousandth from ours."""


def stock(kind: type[DiffusionPipeline], folder: Path, **parts: Any) -> Any:
    pipeline = kind.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def ours(model: TextToImage, network: Network, x: Tensor, sigmas: list[float]) -> Tensor:
    """Two pictures along `sigmas`, guided away from the negative prompt."""
    field = raw(guided(network, model.encode([NEGATIVE]), GUIDANCE))
    return euler(field, x, model.encode(captions(2)), sigmas)


def same(found: Tensor, expected: Tensor) -> bool:
    return bool((found - expected).norm() < TOLERANCE * expected.norm())


def told(**more: Any) -> dict[str, Any]:
    """What a user says to a stock pipeline."""
    prompts = {"prompt": captions(2), "negative_prompt": [NEGATIVE] * 2}
    return {**prompts, "num_inference_steps": STEPS, "guidance_scale": GUIDANCE, "output_type": "latent", **more}


def test_a_negative_prompt(flow: TextToImage, flow_folder: Path) -> None:
    theirs = stock(StableDiffusionPipeline, flow_folder)(**told(latents=noise(2))).images
    expected = ours(flow, flow.call, noise(2), sigma_grid(STEPS))
    assert same(theirs, expected)
    unasked = flow.sample(noise(2), captions(2), STEPS, GUIDANCE, "euler")
    assert not same(unasked, expected), "a prompt that changes nothing proves nothing"


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_a_picture_to_start_from(strength: float, flow: TextToImage, flow_folder: Path) -> None:
    pipeline = stock(StableDiffusionImg2ImgPipeline, flow_folder)
    picture = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    seeded = torch.Generator().manual_seed(2)
    theirs = pipeline(**told(image=picture, strength=strength, generator=seeded)).images

    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        latent = pipeline.vae.encode(2 * picture - 1).latent_dist.sample(rng) * pipeline.vae.config.scaling_factor
    start = STEPS - int(STEPS * strength)
    sigmas = sigma_grid(STEPS)[start:]
    x = interpolate(torch.randn(latent.shape, generator=rng), latent, torch.tensor(sigmas[0]))
    assert same(theirs, ours(flow, flow.call, x, sigmas))


@pytest.fixture(scope="module")
def control(teacher_folder: Path) -> ControlNetModel:
    """A ControlNet made for the teacher, its output layers as if it were trained."""
    torch.manual_seed(3)
    teacher = StableDiffusionPipeline.from_pretrained(teacher_folder)
    net = ControlNetModel.from_unet(teacher.unet, conditioning_embedding_out_channels=(16, 32, 96)).eval()
    for layer in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(layer.weight, std=0.1)
    return net.requires_grad_(False)


def test_a_control_net_of_the_teacher(control: ControlNetModel, flow: TextToImage, flow_folder: Path) -> None:
    pipeline = stock(StableDiffusionControlNetPipeline, flow_folder, controlnet=control)
    hint = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    theirs = pipeline(**told(image=hint, latents=noise(2), controlnet_conditioning_scale=1.0)).images

    def controlled(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        shown = hint.repeat(len(x) // 2, 1, 1, 1)
        down, middle = control(x, timestep, condition.text, controlnet_cond=shown, return_dict=False)
        prediction: Tensor = flow.pipeline.unet(
            x, timestep, condition.text, down_block_additional_residuals=down, mid_block_additional_residual=middle
        ).sample
        return prediction

    expected = ours(flow, controlled, noise(2), sigma_grid(STEPS))
    assert same(theirs, expected)
    assert not same(ours(flow, flow.call, noise(2), sigma_grid(STEPS)), expected), "it does nothing"


@pytest.fixture(scope="module")
def lora(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA made for the teacher, as diffusers' training scripts save it."""
    torch.manual_seed(4)
    unet = StableDiffusionPipeline.from_pretrained(teacher_folder).unet
    config = LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=["to_q", "to_k", "to_v"])
    unet.add_adapter(config)
    for name, parameter in unet.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    folder = tmp_path_factory.mktemp("lora")
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=get_peft_model_state_dict(unet))
    return folder


def merged(folder: Path, lora: Path) -> TextToImage:
    """A model with the LoRA in its weights, W + B A."""
    model, weights = open_pipeline(folder), load_file(lora / "pytorch_lora_weights.safetensors")
    for name in [name for name in weights if name.endswith("lora_A.weight")]:
        a, b = weights[name], weights[name.replace("lora_A", "lora_B")]
        model.denoiser.get_submodule(name.removeprefix("unet.").removesuffix(".lora_A.weight")).weight.data += b @ a
    return model


@pytest.mark.parametrize("kind", ["teacher_folder", "flow_folder"])
def test_a_lora_of_the_teacher(kind: str, lora: Path, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(kind)
    pipeline = stock(StableDiffusionPipeline, folder)
    said = told(latents=noise(2), negative_prompt=None)
    without = pipeline(**said).images
    pipeline.load_lora_weights(lora)
    solver = "euler" if kind == "flow_folder" else "dpmsolver++"
    found = pipeline(**said).images
    assert same(found, merged(folder, lora).sample(noise(2), captions(2), STEPS, GUIDANCE, solver))
    assert not same(found, without), "it does nothing"
