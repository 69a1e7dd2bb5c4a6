"""What a training starts from: what the output means, how many networks, and a diffusion model that stays one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import nn

from models.losses import one_step
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import diffusion, stack, student_velocity, trainable
from models.stacked_unet import StackedUNet
from tests.models.untrained import captions, noise


@pytest.mark.parametrize("parameterization", ["raw", "converted"])
def test_a_teacher_starts_as_told_and_a_flow_stays_what_it_is(
    parameterization: str, teacher_folder: Path, flow: TextToImage
) -> None:
    model = trainable(open_pipeline(teacher_folder, "bf16"), parameterization)  # type: ignore[arg-type]
    assert model.parameterization == parameterization
    assert all(p.requires_grad and p.dtype == torch.float32 for p in model.denoiser.parameters())
    assert trainable(flow, parameterization).parameterization == "raw"  # type: ignore[arg-type]
    flow.denoiser.requires_grad_(False)


def test_a_flow_cannot_stay_a_diffusion_model(flow: TextToImage) -> None:
    with pytest.raises(ValueError, match='parameterization "epsilon": the model is a raw flow; expected a diffusion'):
        trainable(flow, "epsilon")


def test_two_networks_stand_where_one_stood(teacher_folder: Path) -> None:
    model, one = open_pipeline(teacher_folder), open_pipeline(teacher_folder)
    stack(model)
    assert isinstance(model.denoiser, StackedUNet)
    drawn = (each.sample(noise(2), captions(2), 2, 1.5, "dpmsolver++") for each in (model, one))
    torch.testing.assert_close(next(drawn), next(drawn))
    with pytest.raises(ValueError, match='architecture "stacked": the network is a StackedUNet; expected one U-Net'):
        stack(model)
    model.pipeline.unet = nn.Identity()
    with pytest.raises(ValueError, match="the network is a Identity"):
        stack(model)


@pytest.mark.filterwarnings("error::FutureWarning")
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_diffusion_students_step_is_one_ddim_step_here_and_in_stock_diffusers(
    prediction: str, teacher_folder: Path, tmp_path: Path
) -> None:
    """Rectified Diffusion: the teacher's own solvers draw it, and its folder says from where."""
    model = open_pipeline(teacher_folder)
    model.pipeline.scheduler.register_to_config(prediction_type=prediction, clip_sample=True)
    trainable(model, "epsilon")
    assert model.parameterization == "diffusion" and diffusion(model).prediction == prediction
    with torch.no_grad():
        latent = one_step(student_velocity(model), noise(2), model.encode(captions(2)))
    largest = float(latent.abs().max())
    # diffusers' EulerDiscrete starts from noise times the largest sigma, 14.61, in the place of 14.65.
    for solver, tolerance in (("ddim", 1e-5), ("dpmsolver++", 1e-5), ("euler", 5e-3)):
        found = model.sample(noise(2), captions(2), 1, 1.0, solver)
        torch.testing.assert_close(found, latent, atol=tolerance * largest, rtol=0)
    model.save(tmp_path / "student")
    stock = StableDiffusionPipeline.from_pretrained(tmp_path / "student")
    drawn = stock(captions(2), latents=noise(2), num_inference_steps=1, guidance_scale=1.0, output_type="latent").images
    torch.testing.assert_close(drawn, latent, atol=1e-5 * largest, rtol=0)
    assert open_pipeline(tmp_path / "student").parameterization == "diffusion"


def test_a_flow_students_velocity_is_its_own(flow: TextToImage) -> None:
    x, condition = noise(2), flow.encode(captions(2))
    with torch.no_grad():
        found = one_step(student_velocity(flow), x, condition)
    torch.testing.assert_close(found, flow.sample(x, captions(2), 1, 1.0, "euler"))
