"""What stock diffusers makes of our export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from models.condition import Condition
from models.pipelines.flow_scheduler import flow_scheduler
from models.pipelines.text_to_image import TextToImage
from models.solvers import euler, sigma_grid
from tests.models.known import TEXT
from tests.models.untrained import noise

PROMPT = "a large red circle on the left"


def test_its_times_are_ours_at_every_number_of_steps() -> None:
    for steps in range(1, 1001):
        scheduler = flow_scheduler()
        scheduler.set_timesteps(steps)
        grid = sigma_grid(steps)
        assert scheduler.timesteps.tolist() == [round(1000 * sigma) for sigma in grid[:-1]]
        assert scheduler.sigmas.tolist() == pytest.approx(grid, abs=1e-3)  # less than one of its timesteps
        assert float(scheduler.sigmas[0]) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("steps", [1, 4, 6, 10])
def test_its_steps_are_eulers(steps: int) -> None:
    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return torch.sin(x) + sigma.view(-1, 1, 1, 1)

    scheduler = flow_scheduler()
    scheduler.set_timesteps(steps)
    x = noise(2)
    for t in scheduler.timesteps:
        x = scheduler.step(velocity(x, torch.full((2,), float(t) / 1000), TEXT), t, x).prev_sample
    torch.testing.assert_close(x, euler(velocity, noise(2), TEXT, sigma_grid(steps)), atol=1e-3, rtol=0)


@pytest.fixture(scope="module")
def stock(flow_folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(flow_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def picture(flow: TextToImage, steps: int, guidance: float) -> np.ndarray:
    latent = flow.sample(noise(1), [PROMPT], steps, guidance, "euler")
    return flow.decode(latent)[0].permute(1, 2, 0).numpy().astype(int)


def gap(stock: StableDiffusionPipeline, flow: TextToImage, steps: int, guidance: float) -> float:
    """Largest difference of a pixel."""
    theirs = stock(PROMPT, num_inference_steps=steps, guidance_scale=guidance, latents=noise(1), output_type="np")
    return float(np.abs(picture(flow, steps, guidance) - (theirs.images[0] * 255).round()).max())


@pytest.mark.parametrize("steps", range(1, 51))
def test_stock_diffusers_draws_the_same_picture(stock: StableDiffusionPipeline, flow: TextToImage, steps: int) -> None:
    assert gap(stock, flow, steps, 1.0) <= 2


@pytest.mark.parametrize("steps", [1, 2, 4, 6])
def test_stock_diffusers_draws_the_same_picture_with_guidance(
    stock: StableDiffusionPipeline, flow: TextToImage, steps: int
) -> None:
    assert gap(stock, flow, steps, 1.5) <= 2


def test_the_pictures_of_the_comparison_differ_among_themselves(flow: TextToImage) -> None:
    pictures = [picture(flow, steps, guidance) for steps in (1, 2, 4) for guidance in (1.0, 1.5)]
    gaps = [np.abs(a - b).max() for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(gaps) > 10 and min(p.std() for p in pictures) > 20
