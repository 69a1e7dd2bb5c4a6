"""A Stable Diffusion XL folder as teacher and as flow: equal to what stock diffusers makes of it and of its export."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    DiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
)
from torch import Tensor

from infra.artifact.fingerprint import tree_files
from models.losses import one_step, reflow_loss
from models.pipelines.folder import Described, check_folder
from models.pipelines.layouts import LAYOUTS
from models.pipelines.opening import open_pipeline
from models.pipelines.stable_diffusion_xl import StableDiffusionXL
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS, euler, noise_table
from models.velocity import converted, guided, interpolate, raw
from tests.models.pipelines import tiny
from tests.models.pipelines.folders import copy, edit
from tests.models.untrained import captions, noise

TOLERANCE = 1e-5
"""Of the scale of a latent: ours and stock's are the same arithmetic in another order."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion_xl(tmp_path_factory.mktemp("xl") / "teacher")


@pytest.fixture(scope="module")
def model(folder: Path) -> TextToImage:
    return open_pipeline(folder)


@pytest.fixture(scope="module")
def flow_folder(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights saved as a raw flow."""
    flow, saved = open_pipeline(folder), tmp_path_factory.mktemp("xl") / "flow"
    flow.parameterization = "raw"
    flow.save(saved)
    return saved


def stock(folder: Path, **parts: Any) -> StableDiffusionXLPipeline:
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def drawn(pipeline: DiffusionPipeline, steps: int, guidance: float, output: str = "latent", **more: Any) -> Any:
    """What the stock pipeline makes of the first two captions and noises."""
    return pipeline(
        captions(2), num_inference_steps=steps, guidance_scale=guidance, latents=noise(2), output_type=output, **more
    ).images


def gap(ours: Tensor, theirs: Tensor) -> float:
    """The largest difference, in units of the latents' own scale."""
    return float((ours - theirs).abs().max() / theirs.std())


def test_a_folder_says_what_it_is(model: TextToImage, flow_folder: Path) -> None:
    assert type(model) is StableDiffusionXL and model.parameterization == "diffusion"
    assert (model.latent_shape, model.pixels_per_side, model.decoder) == ((4, 8, 8), 32, "AutoencoderKL")
    assert model.denoiser is model.pipeline.unet and not model.denoiser.training
    assert open_pipeline(flow_folder).parameterization == "raw"


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


@pytest.mark.parametrize("part", ["text", "pooled", "size"])
def test_the_network_hears_every_part_of_the_condition(part: str, model: TextToImage) -> None:
    x, time, told = noise(2), torch.full((2,), 500.0), model.encode(captions(2))
    changed = type(told)(**{**vars(told), part: getattr(told, part) + 1})
    with torch.no_grad():
        assert not torch.allclose(model.forward(x, time, told), model.forward(x, time, changed), atol=1e-4)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 3, 4])
def test_stock_diffusers_draws_an_exported_flow_as_we_do(steps: int, guidance: float, flow_folder: Path) -> None:
    flow = open_pipeline(flow_folder)
    latent = flow.sample(noise(2), captions(2), steps, guidance, "euler")
    pipeline = stock(flow_folder)
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


def test_a_negative_prompt_is_guided_away_from(flow_folder: Path) -> None:
    flow, negative = open_pipeline(flow_folder), captions(4)[3]
    pipeline, told = stock(flow_folder), flow.encode(captions(2))
    velocity = raw(guided(flow.call, flow.encode([negative]), 3.0))
    ours = euler(velocity, noise(2), told, flow.sigmas(1))
    theirs = drawn(pipeline, 1, 3.0, negative_prompt=[negative] * 2)
    assert gap(ours, theirs) < TOLERANCE < gap(drawn(pipeline, 1, 3.0), theirs)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_starts_from_the_noised_picture(strength: float, flow_folder: Path) -> None:
    flow, kind = open_pipeline(flow_folder), StableDiffusionXLImg2ImgPipeline
    pipeline = kind.from_pipe(stock(flow_folder))
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


def test_a_lora_of_the_teacher_works_with_a_flow(folder: Path, flow_folder: Path, tmp_path: Path) -> None:
    layers, pipeline, flow = tiny.lora_layers(stock(folder).unet), stock(flow_folder), open_pipeline(flow_folder)
    type(pipeline).save_lora_weights(tmp_path, unet_lora_layers=layers)
    without = drawn(pipeline, 1, 1.5)
    pipeline.load_lora_weights(tmp_path)
    tiny.merge(layers, flow.denoiser)
    assert gap(flow.sample(noise(2), captions(2), 1, 1.5, "euler"), drawn(pipeline, 1, 1.5)) < TOLERANCE
    assert gap(without, drawn(pipeline, 1, 1.5)) > 0.01


def test_a_controlnet_steers_a_flow(flow_folder: Path) -> None:
    pipeline = stock(flow_folder)
    net = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=(8, 8, 8))  # 32 to 8 pixels
    steered = StableDiffusionXLControlNetPipeline.from_pipe(pipeline, controlnet=net)
    picture = {"image": torch.rand(2, 3, 32, 32)}
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) < TOLERANCE  # it begins as nothing
    for one in net.controlnet_down_blocks:
        torch.nn.init.normal_(one.weight, std=0.1)
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) > 0.01


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_low_precision_is_for_the_network_only(dtype: str, folder: Path, model: TextToImage) -> None:
    low = open_pipeline(folder, dtype)
    ours, exact = (one.sample(noise(2), captions(2), 4, 3.0, "dpmsolver++") for one in (low, model))
    assert ours.dtype == torch.float32 and 0 < gap(ours, exact) < {"bf16": 0.15, "fp16": 0.02}[dtype]
    assert not torch.equal(ours, ours.to(low.dtype).float()), "the state has more digits than the network"


def test_where_a_model_was_loaded_from_is_not_in_its_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("here", "there"):
        open_pipeline(copy(folder, tmp_path / name)).save(tmp_path / name / "saved")
    here, there = ({file: path.read_bytes() for file, path in tree_files(tmp_path / name / "saved").items()}
                   for name in ("here", "there"))  # fmt: skip
    assert here == there and len(here) > 10


def test_prompts_too_long_are_cut_and_counted_without_a_word_for_each(
    model: TextToImage, caplog: pytest.LogCaptureFixture
) -> None:
    fits, too_long = "a " * 22, "a " * 23  # with the two marks 24 and 25 tokens
    assert model.truncated([fits, too_long, ""]) == 1
    first, second, _ = model.encode([fits, too_long, ""]).text
    assert torch.equal(first, second) and not caplog.records


@pytest.mark.parametrize(
    ("file", "field", "value", "told"),
    [
        ("unet", "cross_attention_dim", 16, r"width of the text: 16 \(unet.*\) against 16 \(text_.* \+ 16 \(text_enco"),
        ("unet", "addition_time_embed_dim", 4, r"width of the pooled text and of the six numbers of a size: 72 \(unet"),
        ("unet", "addition_embed_type", None, r'addition_embed_type is null; expected "text_time"'),
        ("unet", "time_cond_proj_dim", 256, r"unet/config.json: time_cond_proj_dim is 256; expected null"),
        ("unet", "in_channels", 9, r"channels of a latent: 9 \(unet/config.json: in_channels\) against 4 \(vae"),
        ("vae", "latents_mean", [0.1, 0, 0, 0], r"vae/config.json: latents_mean is \[0.1, 0, 0, 0\]; expected null"),
        ("text_encoder_2", "projection_dim", None, r"text_encoder_2/config.json: projection_dim is null; expected a w"),
    ],
)
def test_a_folder_whose_parts_do_not_fit_is_refused_without_loading_it(
    file: str, field: str, value: object, told: str, folder: Path, tmp_path: Path
) -> None:
    edited = copy(folder, tmp_path)
    edit(edited / file / "config.json", lambda config: config.update({field: value}))
    with pytest.raises(ValueError, match=told):
        check_folder(edited)


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
