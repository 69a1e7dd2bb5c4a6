"""A model as what it is to the chain: a network, a velocity field, a sampler and a decoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS, FLOW_SOLVERS
from models.velocity import converted
from tests.models.untrained import LATENT, captions, noise


def test_an_unknown_solver_is_named_with_those_that_fit(teacher: TextToImage, flow: TextToImage) -> None:
    for solver in DIFFUSION_SOLVERS:
        teacher.check_solver(solver)
    for solver in FLOW_SOLVERS:
        flow.check_solver(solver)
    with pytest.raises(ValueError, match=r"solver 'ddim': a raw model is solved with one of euler, heun, unipc"):
        flow.check_solver("ddim")
    with pytest.raises(ValueError, match=r"solver 'rk4': .*dpmsolver\+\+, .*ddim, euler"):
        teacher.check_solver("rk4")


@pytest.mark.parametrize("guidance", [1.0, 4.0])
@pytest.mark.parametrize(
    ("name", "solver"),
    [*(("teacher", solver) for solver in DIFFUSION_SOLVERS), *(("flow", solver) for solver in FLOW_SOLVERS)],
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


def test_decoded_pictures_are_rounded_not_floored(teacher: TextToImage) -> None:
    pictures = teacher.decode(noise(2))
    assert (pictures.dtype, pictures.shape) == (torch.uint8, (2, 3, 32, 32))
    with torch.no_grad():
        exact = (teacher.pixels(noise(2)) / 2 + 0.5).clamp(0, 1) * 255
    assert (pictures.float() - exact).abs().max() <= 0.5001


def test_what_a_network_predicts_decides_how_it_is_a_velocity(teacher: TextToImage, flow: TextToImage) -> None:
    x, condition = noise(2), flow.encode(captions(2))
    sigma = torch.tensor([1.0, 0.3])
    with torch.no_grad():
        assert torch.equal(flow.velocity()(x, sigma, condition), flow.forward(x, 1000 * sigma, condition))
        alphas = teacher.pipeline.scheduler.alphas_cumprod
        expected = converted(teacher.forward, alphas, "epsilon")(x, sigma, condition)
        assert torch.equal(teacher.velocity()(x, sigma, condition), expected)
    assert not torch.allclose(expected, flow.velocity()(x, sigma, condition), atol=1e-2)


def test_the_denoiser_is_frozen_and_says_where_and_how_it_runs(teacher: TextToImage) -> None:
    assert not teacher.denoiser.training and not any(one.requires_grad for one in teacher.denoiser.parameters())
    first = next(teacher.denoiser.parameters())
    assert (teacher.device, teacher.dtype, teacher.decoder) == (first.device, torch.float32, "AutoencoderKL")


def test_a_sample_is_single_precision_on_the_cpu_whatever_the_model_is(flow_folder: Path) -> None:
    model = open_pipeline(flow_folder, "bf16")
    assert model.dtype == torch.bfloat16
    latent = model.sample(noise(1), captions(1), 2, 1.5, "euler")
    assert (latent.dtype, latent.device.type, latent.shape) == (torch.float32, "cpu", (1, *LATENT))
    assert model.decode(latent).dtype == torch.uint8
