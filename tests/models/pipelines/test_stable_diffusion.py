"""A Stable Diffusion folder as teacher and as flow: loaded, saved, and refused where its parts do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.artifact.fingerprint import tree_files
from models.losses import reflow_loss
from models.pipelines.folder import MARKER, Parameterization
from models.pipelines.layouts import LAYOUTS
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS
from tests.models import untrained
from tests.models.pipelines.folders import copy, edit
from tests.models.pipelines.repositories import as_sd2, as_sd15, fp16_only
from tests.models.untrained import LATENT, captions, noise

LAYOUT = LAYOUTS["StableDiffusionPipeline"]


def test_a_folder_says_what_its_network_predicts(teacher: TextToImage, flow: TextToImage) -> None:
    assert (teacher.parameterization, flow.parameterization) == ("diffusion", "raw")
    assert (teacher.latent_shape, teacher.pixels_per_side) == (LATENT, 32)


@pytest.mark.parametrize("parameterization", ["diffusion", "raw", "converted"])
def test_saved_and_loaded_is_the_same_model(parameterization: str, teacher_folder: Path, tmp_path: Path) -> None:
    model = open_pipeline(teacher_folder)
    model.parameterization = parameterization  # type: ignore[assignment]
    before = sampled(model)
    model.save(tmp_path / "saved")
    again = open_pipeline(tmp_path / "saved")
    assert again.parameterization == parameterization
    assert torch.equal(sampled(again), before)
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.pt")], "weights are safetensors, never a pickle"


@pytest.mark.parametrize("parameterization", ["diffusion", "raw", "converted"])
def test_where_a_model_was_loaded_from_is_not_in_its_bytes(
    parameterization: str, teacher_folder: Path, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        model = open_pipeline(copy(teacher_folder, tmp_path / name))
        model.parameterization = parameterization  # type: ignore[assignment]
        model.save(tmp_path / name / "saved")
    here, there = ({file: path.read_bytes() for file, path in tree_files(tmp_path / name / "saved").items()}
                   for name in ("here", "there"))  # fmt: skip
    assert here == there


@pytest.fixture(scope="module")
def sd15(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our teacher in the layout of the real repository."""
    return as_sd15(copy(teacher_folder, tmp_path_factory.mktemp("sd15")))


def test_the_repository_of_stable_diffusion_1_5_is_a_teacher(sd15: Path, teacher: TextToImage, tmp_path: Path) -> None:
    model = open_pipeline(sd15)
    assert torch.equal(sampled(model), sampled(teacher))
    model.parameterization = "raw"
    before = sampled(model)
    model.save(tmp_path / "flow")
    assert json.loads((tmp_path / "flow" / "model_index.json").read_text())["safety_checker"] == [None, None]
    assert torch.equal(sampled(open_pipeline(tmp_path / "flow")), before)


@pytest.mark.parametrize("extractor", ["CLIPImageProcessor", "CLIPFeatureExtractor"])  # of 1.5 and of 1.4
def test_its_safety_checker_need_not_be_there(extractor: str, sd15: Path, teacher: TextToImage, tmp_path: Path) -> None:
    folder = copy(sd15, tmp_path)
    edit(folder / "model_index.json", lambda index: index.update(feature_extractor=["transformers", extractor]))
    for name in ("safety_checker", "feature_extractor"):
        shutil.rmtree(folder / name)
    assert torch.equal(sampled(open_pipeline(folder)), sampled(teacher))


def test_its_half_precision_files_are_enough(sd15: Path, teacher: TextToImage, tmp_path: Path) -> None:
    model = open_pipeline(fp16_only(copy(sd15, tmp_path)))
    assert model.dtype == torch.float32
    before = sampled(model)
    torch.testing.assert_close(before, sampled(teacher), atol=0.03, rtol=0)
    model.save(tmp_path / "saved")
    assert torch.equal(sampled(open_pipeline(tmp_path / "saved")), before)


@pytest.fixture(scope="module", params=[False, True], ids=["2.1", "zero terminal SNR"])
def sd2(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Diffusion 2.1 in small: another width of the text, heads of one size, linear projections, v."""
    return as_sd2(untrained.pipeline(), tmp_path_factory.mktemp("sd2") / "model", zero_snr=request.param)


def test_stable_diffusion_2_is_a_teacher(sd2: Path) -> None:
    model = open_pipeline(sd2)
    assert model.parameterization == "diffusion" and model.encode(captions(2)).text.shape == (2, 24, 96)
    stock = StableDiffusionPipeline.from_pretrained(sd2)
    stock.set_progress_bar_config(disable=True)
    zero_snr = stock.scheduler.config.rescale_betas_zero_snr
    for solver, (scheduler, options) in DIFFUSION_SOLVERS.items():
        if zero_snr and solver == "heun":
            with pytest.raises(ValueError, match=r"solver 'heun': a model with zero terminal SNR .* one of dpmsolver"):
                model.check_solver(solver)
            continue
        model.check_solver(solver)
        stock.scheduler = scheduler.from_config(stock.scheduler.config, timestep_spacing="trailing", **options)
        theirs = stock(captions(2), num_inference_steps=6, guidance_scale=3.0, latents=noise(2), output_type="latent")
        ours = model.sample(noise(2), captions(2), 6, 3.0, solver)
        assert (ours - theirs.images).norm() < 1e-4 * ours.norm()


@pytest.mark.parametrize("parameterization", ["raw", "converted"])
def test_stable_diffusion_2_is_trained_as_a_flow(sd2: Path, parameterization: Parameterization) -> None:
    model = open_pipeline(sd2)
    model.parameterization = parameterization
    model.denoiser.requires_grad_(True)
    sigma = torch.tensor([0.0, 0.5, 0.98, 1.0])
    loss = reflow_loss(model.velocity(), noise(4), noise(4, seed=1), model.encode(captions(4)), sigma, "l2")
    loss.backward()
    assert loss.isfinite() and loss < 10
    assert all(one.grad is not None and one.grad.isfinite().all() for one in model.denoiser.parameters())


def test_epsilon_with_zero_terminal_snr_is_refused(sd2: Path, tmp_path: Path) -> None:
    folder = copy(sd2, tmp_path)
    path = folder / "scheduler" / "scheduler_config.json"
    edit(path, lambda config: config.update(prediction_type="epsilon", rescale_betas_zero_snr=True))
    with pytest.raises(ValueError, match=rf"{path}: rescale_betas_zero_snr is true; expected false, or a network"):
        open_pipeline(folder)


def sampled(model: TextToImage, steps: int = 3) -> Tensor:
    solver = "dpmsolver++" if model.parameterization == "diffusion" else "euler"
    return model.sample(noise(2), captions(2), steps, 1.5, solver)


@pytest.mark.parametrize("component", [*LAYOUT.networks, *LAYOUT.others])
def test_a_missing_component_is_named(component: str, teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    shutil.rmtree(folder / component)
    with pytest.raises(FileNotFoundError, match=rf"model: .*{component} missing"):
        open_pipeline(folder)


@pytest.mark.parametrize("file", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_of_a_component_is_named(file: str, teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    (folder / file).unlink()
    with pytest.raises(OSError, match=file.rpartition("/")[2].partition(".")[0]):
        open_pipeline(folder)


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_tensor_that_is_missing_is_not_made_up(file: str, teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    weights = load_file(folder / file)
    name = sorted(weights)[3]
    count = weights.pop(name).numel()
    save_file(weights, folder / file, {"format": "pt"})
    total = sum(one.numel() for one in weights.values())
    part = folder / file.partition("/")[0]
    with pytest.raises(
        ValueError, match=rf"^{part}: its weights are {total} numbers, the network .* has {total + count}"
    ):
        open_pipeline(folder)


def test_latents_that_do_not_fit_are_named_with_both_numbers(teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    edit(folder / "vae" / "config.json", lambda config: config.update(latent_channels=16))
    with pytest.raises(ValueError, match=r"channels of a latent: 4 \(unet.* against 16 \(vae"):
        open_pipeline(folder)


def test_prompts_too_long_are_cut_and_counted(teacher: TextToImage) -> None:
    fits, too_long = "a " * 22, "a " * 23  # with the two marks 24 and 25 tokens
    assert teacher.truncated([fits, too_long, ""]) == 1
    first, second, _ = teacher.encode([fits, too_long, ""]).text
    assert torch.equal(first, second)


def test_pixels_pass_a_gradient_to_the_latent(teacher: TextToImage) -> None:
    latent = noise(1).requires_grad_()
    teacher.pixels(latent).sum().backward()
    assert latent.grad is not None and latent.grad.abs().min() > 0


def test_the_condition_is_the_text_encoders_last_hidden_state_and_nothing_else(teacher: TextToImage) -> None:
    condition = teacher.encode(captions(3))
    assert condition.text.shape == (3, 24, 64) and condition.pooled is None and condition.size is None
    alone = teacher.encode(captions(3)[1:2])
    torch.testing.assert_close(alone.text[0], condition.text[1], atol=1e-5, rtol=1e-5)


def test_only_a_converted_flow_is_marked(teacher_folder: Path, tmp_path: Path) -> None:
    model = open_pipeline(teacher_folder)
    for parameterization in ("diffusion", "converted"):
        model.parameterization = parameterization  # type: ignore[assignment]
        model.save(tmp_path / parameterization)
    assert json.loads((tmp_path / "converted" / MARKER).read_text()) == {"parameterization": "converted"}
    assert not (tmp_path / "diffusion" / MARKER).exists()
    names = ({*tree_files(tmp_path / name)} for name in ("converted", "diffusion"))
    assert next(names) - {MARKER} == next(names)
