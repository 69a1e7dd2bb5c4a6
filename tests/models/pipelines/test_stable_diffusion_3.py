"""A Stable Diffusion 3 folder as teacher and as flow: equal to what stock diffusers makes of it and of its export."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    FlowMatchHeunDiscreteScheduler,
    SD3ControlNetModel,
    StableDiffusion3ControlNetPipeline,
    StableDiffusion3Img2ImgPipeline,
)

from models.losses import one_step, reflow_loss
from models.pipelines.folder import Described, check_folder
from models.pipelines.layouts import LAYOUTS
from models.pipelines.opening import open_pipeline
from models.pipelines.stable_diffusion_3 import StableDiffusion3
from models.pipelines.text_to_image import TextToImage
from models.solvers import FLOW_SOLVERS, euler, sigma_grid
from models.velocity import interpolate
from tests.models.pipelines import tiny
from tests.models.pipelines.families import SD3, TOLERANCE, Family, gap, stock
from tests.models.pipelines.folders import copy, edit
from tests.models.untrained import captions

NO_T5 = {"text_encoder_3": None, "tokenizer_3": None}

noise, drawn = SD3.noise, SD3.drawn


@pytest.fixture(scope="module")
def family() -> Family:
    return SD3


@pytest.fixture(scope="module")
def without_t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion_3(tmp_path_factory.mktemp("sd3") / "without", t5=False)


def test_a_folder_says_what_it_is(model: TextToImage, exported: Path) -> None:
    assert type(model) is StableDiffusion3 and model.parameterization == "raw"
    assert (model.latent_shape, model.pixels_per_side, model.decoder) == ((16, 8, 8), 32, "AutoencoderKL")
    assert model.denoiser is model.pipeline.transformer and not model.denoiser.training
    assert open_pipeline(exported).parameterization == "raw"


def test_the_condition_is_what_the_stock_pipeline_tells_its_network(
    folder: Path, without_t5: Path, model: TextToImage
) -> None:
    pipeline, told = stock(folder), model.encode(captions(3))
    text, null, pooled, pooled_null = pipeline.encode_prompt(captions(3), None, None)
    assert (text.shape, pooled.shape) == ((3, 24 + 256, tiny.T5_WIDTH), (3, 2 * tiny.POOLED))
    assert told.pooled is not None and told.size is None
    torch.testing.assert_close(told.text, text)
    torch.testing.assert_close(told.pooled, pooled)
    empty = model.encode([""] * 3)
    torch.testing.assert_close(empty.text, null)
    torch.testing.assert_close(empty.pooled, pooled_null)
    clip_alone, _, _, _ = stock(without_t5, **NO_T5).encode_prompt(captions(3), None, None)
    torch.testing.assert_close(open_pipeline(without_t5).encode(captions(3)).text, clip_alone)
    assert clip_alone[:, 24:].abs().max() == 0 < text[:, 24:].std()


@pytest.mark.parametrize("shift", [3.0, 1.7])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_a_teacher_is_solved_to_the_latents_of_the_stock_pipeline(
    steps: int, shift: float, folder: Path, tmp_path: Path
) -> None:
    teacher = copy(folder, tmp_path)
    edit(teacher / "scheduler" / "scheduler_config.json", lambda config: config.update(shift=shift))
    ours = open_pipeline(teacher).sample(noise(2), captions(2), steps, 4.0, "euler")
    assert gap(ours, drawn(stock(teacher), steps, 4.0)) < TOLERANCE


def test_a_teacher_is_solved_by_heuns_rule_as_stock_diffusers_does(folder: Path, model: TextToImage) -> None:
    pipeline = stock(folder, scheduler=FlowMatchHeunDiscreteScheduler(shift=3.0))
    assert gap(model.sample(noise(2), captions(2), 4, 4.0, "heun"), drawn(pipeline, 4, 4.0)) < TOLERANCE


def test_a_teacher_without_t5_is_solved_as_stock_diffusers_does(without_t5: Path) -> None:
    ours = open_pipeline(without_t5).sample(noise(2), captions(2), 3, 4.0, "euler")
    assert gap(ours, drawn(stock(without_t5, **NO_T5), 3, 4.0)) < TOLERANCE


@pytest.mark.parametrize("solver", FLOW_SOLVERS)
def test_more_steps_of_any_solver_lead_to_the_same_latent(solver: str, model: TextToImage) -> None:
    exact = model.sample(noise(2), captions(2), 200, 2.0, "heun")
    few, many = (gap(model.sample(noise(2), captions(2), steps, 2.0, solver), exact) for steps in (10, 40))
    assert many < few / 2 and many < 0.1


def test_the_velocity_is_the_networks_output_at_a_thousand_sigma(model: TextToImage) -> None:
    x, sigma, told = noise(2), torch.tensor([1.0, 0.3]), model.encode(captions(2))
    with torch.no_grad():
        assert torch.equal(model.velocity()(x, sigma, told), model.forward(x, 1000 * sigma, told))
        others = model.velocity()(x, sigma, model.encode(captions(4)[2:]))
    assert not torch.allclose(others, model.velocity()(x, sigma, told), atol=1e-3)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10])
def test_stock_diffusers_draws_an_exported_flow_as_we_do(steps: int, guidance: float, exported: Path) -> None:
    flow, pipeline = open_pipeline(exported), stock(exported)
    latent = flow.sample(noise(2), captions(2), steps, guidance, "euler")
    equal = {"sigmas": sigma_grid(steps)[:-1]} if steps > 1 else {}  # one step needs no word
    assert gap(latent, drawn(pipeline, steps, guidance, **equal)) < TOLERANCE
    pictures = flow.decode(latent).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(pictures - (drawn(pipeline, steps, guidance, "np", **equal) * 255).round()).max() <= 1
    assert pictures.std() > 20


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 25])
def test_the_equal_steps_that_stock_diffusers_is_told_are_ours(steps: int, exported: Path) -> None:
    scheduler = stock(exported).scheduler
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / steps, steps))
    assert scheduler.sigmas.tolist() == pytest.approx(open_pipeline(exported).sigmas(steps), abs=1e-3)


def test_pixels_are_what_the_stock_pipeline_decodes(folder: Path, model: TextToImage) -> None:
    theirs = drawn(stock(folder), 3, 4.0, "pt") * 2 - 1
    latent = model.sample(noise(2), captions(2), 3, 4.0, "euler")
    torch.testing.assert_close(model.pixels(latent).clamp(-1, 1), theirs, atol=1e-4, rtol=1e-4)
    latent = latent.requires_grad_()
    model.pixels(latent).sum().backward()  # type: ignore[no-untyped-call]
    assert latent.grad is not None and latent.grad.abs().min() > 0


def test_every_parameter_of_the_network_learns(folder: Path) -> None:
    flow = open_pipeline(folder)
    flow.denoiser.requires_grad_(True)
    told = flow.encode(captions(2))
    loss = reflow_loss(flow.velocity(), noise(2), noise(2, seed=1), told, torch.tensor([0.3, 1.0]), "l2")
    (loss + one_step(flow.velocity(), noise(2), told).square().mean()).backward()  # type: ignore[no-untyped-call]
    silent = [name for name, one in flow.denoiser.named_parameters() if one.grad is None or not one.grad.any()]
    # The last block keeps nothing of the text: what that would ask for goes nowhere.
    assert silent == [f"transformer_blocks.1.attn.add_q_proj.{name}" for name in ("weight", "bias")]
    assert not any(one.requires_grad for one in flow.pipeline.text_encoder_3.parameters())


@pytest.mark.parametrize("t5", [True, False])
def test_saved_and_loaded_is_the_same_network(t5: bool, folder: Path, without_t5: Path, tmp_path: Path) -> None:
    before = open_pipeline(folder if t5 else without_t5)
    before.save(tmp_path / "saved")
    after = open_pipeline(tmp_path / "saved")
    told, x, sigma = before.encode(captions(2)), noise(2), torch.tensor([1.0, 0.4])
    with torch.no_grad():
        assert torch.equal(after.velocity()(x, sigma, after.encode(captions(2))), before.velocity()(x, sigma, told))
    index = json.loads((tmp_path / "saved" / "model_index.json").read_text())
    assert index["scheduler"] == ["diffusers", "FlowMatchEulerDiscreteScheduler"]
    assert (index["text_encoder_3"] == [None, None]) is not t5


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_image_to_image_starts_from_the_noised_picture(strength: float, exported: Path) -> None:
    flow, kind = open_pipeline(exported), StableDiffusion3Img2ImgPipeline
    pipeline = kind.from_pipe(stock(exported))
    picture, generator = flow.pixels(noise(1)).clamp(-1, 1), torch.Generator()
    theirs = pipeline(
        captions(1), image=picture / 2 + 0.5, strength=strength, num_inference_steps=4, guidance_scale=1.5,
        sigmas=sigma_grid(4)[:-1], generator=generator.manual_seed(5), output_type="latent",
    ).images  # fmt: skip
    latent = (pipeline.vae.encode(picture).latent_dist.sample(generator.manual_seed(5)) - 0.0609) * 1.5305
    start = interpolate(torch.randn(latent.shape, generator=generator), latent, torch.tensor([strength]))
    sigmas = [sigma for sigma in flow.sigmas(4) if sigma <= strength]
    assert gap(euler(flow.velocity(1.5), start, flow.encode(captions(1)), sigmas), theirs) < 1e-4


def test_a_controlnet_steers_a_flow(exported: Path) -> None:
    pipeline = stock(exported)
    net = SD3ControlNetModel.from_transformer(pipeline.transformer, num_layers=1, num_extra_conditioning_channels=0)
    steered = StableDiffusion3ControlNetPipeline.from_pipe(pipeline, controlnet=net)
    picture = {"control_image": torch.rand(2, 3, 32, 32)}
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) < TOLERANCE  # it begins as nothing
    for one in net.controlnet_blocks:
        torch.nn.init.normal_(one.weight)
    assert gap(drawn(steered, 1, 1.5, **picture), drawn(pipeline, 1, 1.5)) > 0.01


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, r'_class_name is "EulerD.*; expected "FlowMatchEulerDiscreteSch'),
        ({"use_dynamic_shifting": True}, r"use_dynamic_shifting is true; expected null or false"),
        ({"shift_terminal": 0.1}, r"shift_terminal is 0.1; expected null"),
        ({"num_train_timesteps": 500}, r"num_train_timesteps is 500; expected 1000"),
        ({"invert_sigmas": True}, r"invert_sigmas is true; expected false"),
        ({"use_karras_sigmas": True}, r"use_karras_sigmas is true; expected false"),
    ],
)
def test_a_flow_is_never_taken_for_anything_else(
    changed: dict[str, object], told: str, folder: Path, tmp_path: Path
) -> None:
    edited = copy(folder, tmp_path)
    edit(edited / "scheduler" / "scheduler_config.json", lambda config: config.update(changed))
    with pytest.raises(ValueError, match=rf"scheduler/scheduler_config\.json: {told}"):
        check_folder(edited)


@pytest.mark.parametrize("solver", ["dpmsolver++", "ddim"])
def test_a_flow_has_no_solver_of_a_diffusion_model(solver: str, model: TextToImage) -> None:
    with pytest.raises(ValueError, match=rf"solver '{re.escape(solver)}': a raw model is solved with one of euler"):
        model.check_solver(solver)


def test_the_published_configs_are_those_of_the_family(tmp_path: Path) -> None:
    configs = {
        "transformer": {"in_channels": 16, "out_channels": 16, "sample_size": 128, "joint_attention_dim": 4096,
                        "pooled_projection_dim": 2048, "pos_embed_max_size": 192},
        "vae": {"latent_channels": 16, "scaling_factor": 1.5305, "shift_factor": 0.0609},
        "text_encoder": {"hidden_size": 768, "projection_dim": 768},
        "text_encoder_2": {"hidden_size": 1280, "projection_dim": 1280},
        "text_encoder_3": {"d_model": 4096},
        "scheduler": {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000, "shift": 3.0},
    }  # fmt: skip
    tokenizers = ("tokenizer", "tokenizer_2", "tokenizer_3")
    folder = tiny.described(tmp_path, "StableDiffusion3Pipeline", configs, tokenizers)
    empty = dict.fromkeys(LAYOUTS["StableDiffusion3Pipeline"].networks, 0)
    assert check_folder(folder) == Described("StableDiffusion3Pipeline", "raw", None, (), empty)


def test_only_t5_may_be_absent_and_only_as_a_whole(folder: Path, without_t5: Path, tmp_path: Path) -> None:
    assert check_folder(folder).absent == ()
    assert check_folder(without_t5).absent == ("text_encoder_3", "tokenizer_3")
    edited = copy(folder, tmp_path)
    shutil.rmtree(edited / "text_encoder_3")
    with pytest.raises(FileNotFoundError, match="text_encoder_3 missing; expected"):
        check_folder(edited)
    edit(edited / "model_index.json", lambda index: index.update(text_encoder_3=[None, None]))
    with pytest.raises(ValueError, match=r"model_index\.json: text_encoder_3 is null beside tokenizer_3; expected"):
        check_folder(edited)
    edit(edited / "model_index.json", lambda index: index.update(text_encoder=[None, None]))
    shutil.rmtree(edited / "text_encoder")
    edit(edited / "model_index.json", lambda index: index.update(tokenizer_3=[None, None]))
    with pytest.raises(FileNotFoundError, match="text_encoder missing; expected"):
        check_folder(edited)
