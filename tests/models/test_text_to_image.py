"""A Stable Diffusion folder as teacher and as flow, and what stock diffusers makes of our export."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from infra.fingerprint import tree_files
from models.text_to_image import COMPONENTS, TextToImage
from tests.models.untrained import LATENT, captions, noise

PROMPT = "a large red circle on the left"


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TextToImage:
    return TextToImage.load(teacher_folder)


@pytest.fixture(scope="module")
def flow(flow_folder: Path) -> TextToImage:
    return TextToImage.load(flow_folder)


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "model"))


def edit(path: Path, change: Callable[[dict[str, object]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_folder_says_what_its_network_predicts(teacher: TextToImage, flow: TextToImage) -> None:
    assert (teacher.parameterization, flow.parameterization) == ("diffusion", "raw")
    assert (teacher.latent_shape, teacher.pixels_per_side) == (LATENT, 32)


@pytest.mark.parametrize("parameterization", ["diffusion", "raw", "converted"])
def test_saved_and_loaded_is_the_same_model(parameterization: str, teacher_folder: Path, tmp_path: Path) -> None:
    model = TextToImage.load(teacher_folder)
    model.parameterization = parameterization  # type: ignore[assignment]
    before = sampled(model)
    model.save(tmp_path / "saved")
    again = TextToImage.load(tmp_path / "saved")
    assert again.parameterization == parameterization
    assert torch.equal(sampled(again), before)
    assert not [*tmp_path.rglob("*.bin"), *tmp_path.rglob("*.pt")], "weights are safetensors, never a pickle"


@pytest.mark.parametrize("parameterization", ["diffusion", "raw", "converted"])
def test_where_a_model_was_loaded_from_is_not_in_its_bytes(
    parameterization: str, teacher_folder: Path, tmp_path: Path
) -> None:
    for name in ("here", "there"):
        model = TextToImage.load(copy(teacher_folder, tmp_path / name))
        model.parameterization = parameterization  # type: ignore[assignment]
        model.save(tmp_path / name / "saved")
    here, there = ({file: path.read_bytes() for file, path in tree_files(tmp_path / name / "saved").items()}
                   for name in ("here", "there"))  # fmt: skip
    assert here == there


def sampled(model: TextToImage, steps: int = 3) -> Tensor:
    solver = "dpmsolver++" if model.parameterization == "diffusion" else "euler"
    return model.sample(noise(2), captions(2), steps, 1.5, solver)


@pytest.mark.parametrize("component", [*COMPONENTS, "model_index.json"])
def test_a_missing_component_is_named(component: str, teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    path = folder / component
    path.unlink() if path.is_file() else shutil.rmtree(path)
    with pytest.raises(FileNotFoundError, match=rf"model: .*{component} missing"):
        TextToImage.load(folder)


@pytest.mark.parametrize("file", ["unet/config.json", "unet/diffusion_pytorch_model.safetensors"])
def test_a_missing_file_of_a_component_is_named(file: str, teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    (folder / file).unlink()
    with pytest.raises(OSError, match=file.rpartition("/")[2].partition(".")[0]):
        TextToImage.load(folder)


def test_latents_that_do_not_fit_are_named_with_both_numbers(teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    edit(folder / "vae" / "config.json", lambda config: config.update(latent_channels=16))
    with pytest.raises(ValueError, match=r"latents of 4 channels \(unet.* makes 16 \(vae"):
        TextToImage.load(folder)


def test_an_unknown_solver_is_named_with_those_that_fit(teacher: TextToImage, flow: TextToImage) -> None:
    for solver in ("dpmsolver++", "ddim", "euler"):
        teacher.check_solver(solver)
    flow.check_solver("euler")
    with pytest.raises(ValueError, match=r"solver 'ddim': a raw model is solved with one of euler"):
        flow.check_solver("ddim")
    with pytest.raises(ValueError, match=r"solver 'heun': .*dpmsolver\+\+, ddim, euler"):
        teacher.check_solver("heun")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize(
    ("name", "solver"), [("teacher", "dpmsolver++"), ("teacher", "ddim"), ("teacher", "euler"), ("flow", "euler")]
)
def test_a_sample_does_not_depend_on_its_batch(
    name: str, solver: str, guidance: float, request: pytest.FixtureRequest
) -> None:
    model: TextToImage = request.getfixturevalue(name)
    together = model.sample(noise(5), captions(5), 4, guidance, solver)
    alone = [model.sample(noise(5)[i : i + 1], captions(5)[i : i + 1], 4, guidance, solver) for i in range(5)]
    # An untrained teacher's latents are large: 1e-5 of their scale.
    assert (together - torch.cat(alone)).abs().max() < 1e-5 * max(1.0, float(together.std()))


def test_guidance_is_the_difference_to_the_empty_prompt(teacher: TextToImage) -> None:
    x, time, text = noise(2), torch.full((2,), 500.0), teacher.encode(captions(2))
    null = teacher.encode(["", ""])
    with torch.no_grad():
        without, with_text = teacher.network()(x, time, null), teacher.network()(x, time, text)
        guided = teacher.network(3.0)(x, time, text)
    torch.testing.assert_close(guided, without + 3 * (with_text - without), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(without, with_text, atol=1e-3)


def test_prompts_too_long_are_cut_and_counted(teacher: TextToImage) -> None:
    fits, too_long = "a " * 22, "a " * 23  # with the two marks 24 and 25 tokens
    assert teacher.truncated([fits, too_long, ""]) == 1
    first, second, _ = teacher.encode([fits, too_long, ""])
    assert torch.equal(first, second)


def test_decoded_pictures_are_rounded_not_floored(teacher: TextToImage) -> None:
    pictures = teacher.decode(noise(2))
    assert (pictures.dtype, pictures.shape) == (torch.uint8, (2, 3, 32, 32))
    with torch.no_grad():
        exact = (teacher.pixels(noise(2)) / 2 + 0.5).clamp(0, 1) * 255
    assert (pictures.float() - exact).abs().max() <= 0.5001


def test_pixels_pass_a_gradient_to_the_latent(teacher: TextToImage) -> None:
    latent = noise(1).requires_grad_()
    teacher.pixels(latent).sum().backward()
    assert latent.grad is not None and latent.grad.abs().min() > 0


@pytest.fixture(scope="module")
def stock(flow_folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(flow_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(flow: TextToImage, steps: int, guidance: float) -> np.ndarray:
    latent = flow.sample(noise(1), [PROMPT], steps, guidance, "euler")
    return flow.decode(latent)[0].permute(1, 2, 0).numpy().astype(int)


@pytest.mark.parametrize("guidance", [1.0, 1.5])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_stock_diffusers_draws_the_same_picture(
    stock: StableDiffusionPipeline, flow: TextToImage, steps: int, guidance: float
) -> None:
    theirs = stock(PROMPT, num_inference_steps=steps, guidance_scale=guidance, latents=noise(1), output_type="np")
    ours = picture(flow, steps, guidance)
    assert np.abs(ours - (theirs.images[0] * 255).round()).max() <= 2


def test_the_pictures_of_the_comparison_differ_among_themselves(flow: TextToImage) -> None:
    pictures = [picture(flow, steps, guidance) for steps in (1, 2, 4) for guidance in (1.0, 1.5)]
    gaps = [np.abs(a - b).max() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(gaps) > 10 and min(p.std() for p in pictures) > 20
