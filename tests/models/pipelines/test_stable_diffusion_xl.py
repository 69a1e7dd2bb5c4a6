"""A Stable Diffusion XL folder as teacher and as flow: equal to what stock diffusers makes of it and of its export."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
)

from models.losses import one_step, reflow_loss
from models.pipelines.folder import Described, check_folder
from models.pipelines.layouts import LAYOUTS
from models.pipelines.opening import open_pipeline
from models.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS, euler, noise_table
from models.velocity import converted, interpolate
from tests.models.pipelines import tiny
from tests.models.pipelines.families import TOLERANCE, XL, Family, gap, stock
from tests.models.pipelines.folders import copy, edit
from tests.models.untrained import captions, noise

drawn = XL.drawn


@pytest.fixture(scope="module")
def family() -> Family:
    return XL


def test_a_folder_says_what_it_is(model: TextToImage, exported: Path) -> None:
    assert type(model) is StableDiffusionXL and model.parameterization == "diffusion"
    assert (model.latent_shape, model.pixels_per_side, model.decoder) == ((4, 8, 8), 32, "AutoencoderKL")
    assert model.denoiser is model.pipeline.unet and not model.denoiser.training
    assert open_pipeline(exported).parameterization == "raw"


def test_the_condition_is_what_the_stock_pipeline_tells_its_network(folder: Path, model: TextToImage) -> None:
    told = model.encode(captions(3))
    text, null, pooled, pooled_null = stock(folder).encode_prompt(captions(3))
    assert (text.shape, pooled.shape) == ((3, 24, 2 * tiny.WIDTH), (3, tiny.POOLED))
    assert told.size is not None
    torch.testing.assert_close(told.text, text)
    torch.testing.assert_close(told.pooled, pooled)
    assert told.size.tolist() == [[32, 32, 0, 0, 32, 32]] * 3
    assert null.abs().max() == pooled_null.abs().max() == 0


@pytest.mark.parametrize("zeros", [True, False])
def test_an_empty_prompt_is_zeros_only_where_the_pipeline_says_so(zeros: bool, folder: Path, tmp_path: Path) -> None:
    edited = copy(folder, tmp_path)
    edit(edited / "model_index.json", lambda index: index.update(force_zeros_for_empty_prompt=zeros))
    told = open_pipeline(edited).encode([captions(1)[0], ""])
    _, null, _, pooled_null = stock(edited).encode_prompt(captions(2))
    assert told.pooled is not None
    torch.testing.assert_close(told.text[1], null[1])
    torch.testing.assert_close(told.pooled[1], pooled_null[1])
    assert told.text[0].any() and bool(told.text[1].any()) is not zeros


@pytest.mark.parametrize("solver", DIFFUSION_SOLVERS)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_teacher_is_solved_to_the_latents_of_the_stock_pipeline(
    prediction: str, solver: str, folder: Path, tmp_path: Path
) -> None:
    teacher = copy(folder, tmp_path)
    edit(teacher / "scheduler" / "scheduler_config.json", lambda config: config.update(prediction_type=prediction))
    ours = open_pipeline(teacher).sample(noise(2), captions(2), 5, 6.0, solver)
    pipeline, (kind, options) = stock(teacher), DIFFUSION_SOLVERS[solver]
    table = {name: pipeline.scheduler.config[name] for name in
             ("beta_start", "beta_end", "beta_schedule", "prediction_type")}  # fmt: skip
    pipeline.scheduler = kind.from_config(table, timestep_spacing="trailing", **options)
    assert gap(ours, drawn(pipeline, 5, 6.0)) < TOLERANCE


def test_the_velocity_is_the_converted_noise_prediction(model: TextToImage) -> None:
    x, sigma, told = noise(2), torch.tensor([0.9, 0.2]), model.encode(captions(2))
    with torch.no_grad():
        expected = converted(model.network(3.0), noise_table(tiny.SDXL_SCHEDULER), "epsilon")(x, sigma, told)
        assert torch.equal(model.velocity(3.0)(x, sigma, told), expected)
        others = model.velocity(3.0)(x, sigma, model.encode(captions(4)[2:]))
    assert expected.isfinite().all() and not torch.allclose(others, expected, atol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_stock_diffusers_draws_an_exported_flow_as_we_do(steps: int, guidance: float, exported: Path) -> None:
    flow = open_pipeline(exported)
    latent = flow.sample(noise(2), captions(2), steps, guidance, "euler")
    pipeline = stock(exported)
    assert gap(latent, drawn(pipeline, steps, guidance)) < 1e-4
    pictures = flow.decode(latent).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(pictures - (drawn(pipeline, steps, guidance, "np") * 255).round()).max() <= 1
    assert pictures.std() > 20


def test_pixels_are_what_the_stock_pipeline_decodes(folder: Path, model: TextToImage) -> None:
    latent = model.sample(noise(2), captions(2), 4, 3.0, "ddim")
    pipeline = stock(folder)
    theirs = pipeline.vae.decode(latent / pipeline.vae.config.scaling_factor).sample
    torch.testing.assert_close(model.pixels(latent), theirs, atol=1e-4, rtol=1e-4)
    latent = noise(1).requires_grad_()
    model.pixels(latent).sum().backward()
    assert latent.grad is not None and latent.grad.abs().min() > 0


@pytest.mark.parametrize(("dtype", "upcast", "expected"), [
    ("fp16", True, torch.float32), ("fp16", False, torch.float16), ("bf16", True, torch.bfloat16),
])  # fmt: skip
def test_an_autoencoder_that_would_overflow_stays_single_precision(
    dtype: str, upcast: bool, expected: torch.dtype, folder: Path, tmp_path: Path
) -> None:
    edited = copy(folder, tmp_path)
    edit(edited / "vae" / "config.json", lambda config: config.update(force_upcast=upcast))
    model = open_pipeline(edited, dtype)
    assert (model.dtype, model.pipeline.vae.dtype) != (torch.float32, torch.float32)
    assert model.pipeline.vae.dtype == expected
    assert model.decode(noise(1)).shape == (1, 3, 32, 32)


def test_every_parameter_of_the_network_learns(folder: Path) -> None:
    flow = open_pipeline(folder)
    flow.parameterization = "raw"
    flow.denoiser.requires_grad_(True)
    told = flow.encode(captions(2))
    loss = reflow_loss(flow.velocity(), noise(2), noise(2, seed=1), told, torch.tensor([0.3, 1.0]), "l2")
    (loss + one_step(flow.velocity(), noise(2), told).square().mean()).backward()  # type: ignore[no-untyped-call]
    silent = [name for name, one in flow.denoiser.named_parameters() if one.grad is None or not one.grad.any()]
    assert not silent
    assert not any(one.requires_grad for one in flow.pipeline.text_encoder_2.parameters())


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_starts_from_the_noised_picture(strength: float, exported: Path) -> None:
    flow, kind = open_pipeline(exported), StableDiffusionXLImg2ImgPipeline
    pipeline = kind.from_pipe(stock(exported))
    picture, generator = flow.pixels(noise(1)).clamp(-1, 1), torch.Generator()
    theirs = pipeline(
        captions(1), image=picture / 2 + 0.5, strength=strength, num_inference_steps=4, guidance_scale=1.5,
        generator=generator.manual_seed(5), output_type="latent",
    ).images  # fmt: skip
    latent = pipeline.vae.encode(picture).latent_dist.sample(generator.manual_seed(5))
    start = interpolate(torch.randn(latent.shape, generator=generator), latent * 0.13025, torch.tensor([strength]))
    sigmas = [sigma for sigma in flow.sigmas(4) if sigma <= strength]
    # Stock's sigma at one half is .5005, since it counts 1,001 timesteps.
    assert gap(euler(flow.velocity(1.5), start, flow.encode(captions(1)), sigmas), theirs) < 0.01


def test_a_controlnet_steers_a_flow(exported: Path) -> None:
    pipeline = stock(exported)
    net = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(8, 8, 8))  # 32 to 8 pixels
    steered = StableDiffusionXLControlNetPipeline.from_pipe(pipeline, controlnet=net)
    picture = {"image": torch.rand(2, 3, 32, 32)}
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) < TOLERANCE  # it begins as nothing
    for one in net.controlnet_down_blocks:
        torch.nn.init.normal_(one.weight, std=0.1)
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) > 0.01


def test_the_published_configs_are_those_of_the_family(tmp_path: Path) -> None:
    configs = {
        "unet": {"in_channels": 4, "out_channels": 4, "sample_size": 128, "cross_attention_dim": 2048,
                 "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "time_cond_proj_dim": None,
                 "projection_class_embeddings_input_dim": 2816, "class_embed_type": None, "encoder_hid_dim": None},
        "vae": {"latent_channels": 4, "scaling_factor": 0.13025, "force_upcast": True},
        "text_encoder": {"hidden_size": 768, "projection_dim": 768},
        "text_encoder_2": {"hidden_size": 1280, "projection_dim": 1280},
        "scheduler": {"_class_name": "EulerDiscreteScheduler", "num_train_timesteps": 1000, "clip_sample": False,
                      "sample_max_value": 1.0, "set_alpha_to_one": False, "skip_prk_steps": True,
                      "trained_betas": None, **tiny.SDXL_SCHEDULER},
    }  # fmt: skip
    folder = tiny.described(tmp_path, "StableDiffusionXLPipeline", configs, ("tokenizer", "tokenizer_2"))
    empty = dict.fromkeys(LAYOUTS["StableDiffusionXLPipeline"].networks, 0)
    assert check_folder(folder) == Described("StableDiffusionXLPipeline", "diffusion", None, (), empty)
    for weights in folder.rglob("*.safetensors"):
        weights.rename(weights.with_suffix(".fp16.safetensors"))
    assert check_folder(folder).variant == "fp16"


@pytest.mark.parametrize("component", ["text_encoder_2", "tokenizer_2"])
def test_a_missing_component_is_named(component: str, folder: Path, tmp_path: Path) -> None:
    edited = copy(folder, tmp_path)
    shutil.rmtree(edited / component)
    with pytest.raises(FileNotFoundError, match=rf"model: {component} missing; expected model_index\.json and"):
        check_folder(edited)
