"""A Stable Diffusion folder as teacher and as flow: loaded, saved, and refused where its parts do not fit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from infra.artifact.fingerprint import tree_files
from models.pipelines.folder import LAYOUTS, MARKER
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from tests.models.pipelines.folders import copy, edit
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
