"""The losses as equations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.condition import Condition
from models.losses import (
    DISTANCES,
    MAX_WEIGHT,
    U_SHAPE,
    Diffusion,
    SigmaDensity,
    distillation_loss,
    draw_sigma,
    epsilon_loss,
    last_timestep,
    latent_distance,
    one_step,
    picture_distance,
    pictured_huber,
    pictured_reflow_loss,
    pseudo_huber,
    rectified_diffusion_loss,
    reflow_loss,
    squared,
)
from models.velocity import interpolate
from tests.models.known import ALPHAS_CUMPROD, TEXT

MEAN, SPREAD = 1.5, 0.4


def true_velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
    """noise - latent of the coupling latent = MEAN + SPREAD noise, as a function of the point of the path."""
    s = sigma.view(-1, 1, 1, 1)
    noise = (x - (1 - s) * MEAN) / ((1 - s) * SPREAD + s)
    return (1 - SPREAD) * noise - MEAN


def coupling(count: int = 64) -> tuple[Tensor, Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(count, 2, 3, 3, generator=rng)
    return noise, MEAN + SPREAD * noise, torch.rand(count, generator=rng)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_reflow_loss_is_zero_at_the_true_velocity_and_only_there(distance: str) -> None:
    noise, latent, sigma = coupling()
    assert reflow_loss(true_velocity, noise, latent, TEXT, sigma, distance) < 1e-9  # type: ignore[arg-type]
    off = reflow_loss(lambda x, s, t: true_velocity(x, s, t) + 0.1, noise, latent, TEXT, sigma, distance)  # type: ignore[arg-type]
    assert off > 1e-3


def test_the_reflow_loss_is_the_mean_square_per_element() -> None:
    noise, latent, sigma = coupling()
    loss = reflow_loss(lambda x, s, t: true_velocity(x, s, t) + 0.5, noise, latent, TEXT, sigma, "l2")
    assert float(loss) == pytest.approx(0.25, rel=1e-5)


@given(st.integers(1, 4), st.integers(1, 6), st.floats(1e-4, 30), st.integers(0, 2**31))
def test_distances_equal_their_formulas(batch: int, side: int, scale: float, seed: int) -> None:
    difference = scale * np.random.default_rng(seed).standard_normal((batch, 2, side, side)).astype("f4")
    rows, elements = difference.reshape(batch, -1).astype("f8"), 2 * side * side
    l2 = (rows**2).mean(1)
    c = 0.00054 * math.sqrt(elements)
    huber = (np.sqrt((rows**2).sum(1) + c**2) - c) / math.sqrt(elements)
    np.testing.assert_allclose(squared(torch.from_numpy(difference)), l2, rtol=1e-4)
    np.testing.assert_allclose(pseudo_huber(torch.from_numpy(difference)), huber, rtol=1e-3, atol=1e-7)


def test_distances_are_taken_in_fp32() -> None:
    difference = torch.full((1, 4, 8, 8), 300.0, dtype=torch.float16)  # its square is no fp16 number
    assert squared(difference).item() == pytest.approx(90_000)
    assert pseudo_huber(difference).item() == pytest.approx(300, rel=1e-4)


def distance_to(density: SigmaDensity) -> tuple[float, Tensor]:
    """Kolmogorov-Smirnov distance of 40,000 drawn sigmas to the closed form, and the sigmas."""
    sigma = (
        draw_sigma(torch.rand(2, 40_000, generator=torch.Generator().manual_seed(0)), density).double().sort().values
    )
    rising, falling = torch.expm1(U_SHAPE * sigma), math.exp(U_SHAPE) - torch.exp(U_SHAPE * (1 - sigma))
    expected = sigma if density == "uniform" else (rising + falling) / (2 * math.expm1(U_SHAPE))
    empirical = (torch.arange(len(sigma)) + 0.5) / len(sigma)
    return float((empirical - expected).abs().max()), sigma


@pytest.mark.parametrize("density", ["uniform", "u_shaped"])
def test_sigma_has_the_density_it_should_have(density: SigmaDensity) -> None:
    distance, sigma = distance_to(density)
    assert distance < 1.95 / math.sqrt(len(sigma))  # exceeded once in a thousand seeds
    assert 0 <= sigma[0] and sigma[-1] <= 1


def test_each_sigma_is_a_function_of_its_own_numbers() -> None:
    numbers = torch.rand(2, 5)
    for density in ("uniform", "u_shaped"):
        alone = torch.cat([draw_sigma(numbers[:, i : i + 1], density) for i in range(5)])
        assert torch.equal(draw_sigma(numbers, density), alone)


def test_one_step_starts_at_sigma_1() -> None:
    noise, latent, _ = coupling()
    torch.testing.assert_close(one_step(true_velocity, noise, TEXT), latent)


@pytest.mark.parametrize("name", DISTANCES)
def test_the_distillation_loss_is_zero_for_the_student_that_makes_the_latents(name: str) -> None:
    noise, latent, _ = coupling()
    assert distillation_loss(true_velocity, noise, latent, TEXT, latent_distance(name)) < 1e-9
    off = distillation_loss(lambda x, s, c: true_velocity(x, s, c) + 0.5, noise, latent, TEXT, latent_distance(name))
    assert off.item() == pytest.approx(DISTANCES[name](torch.full_like(noise, 0.5)).mean().item(), rel=1e-4)


@pytest.mark.parametrize("name", DISTANCES)
def test_a_distance_of_latents_is_that_of_their_difference_and_symmetric(name: str) -> None:
    noise, latent, _ = coupling(3)
    distance = latent_distance(name)
    torch.testing.assert_close(distance(noise, latent), DISTANCES[name](noise - latent))
    torch.testing.assert_close(distance(noise, latent), distance(latent, noise))


def decode(latent: Tensor) -> Tensor:
    """A decoder that doubles."""
    return 2 * latent


@pytest.mark.parametrize("weight", [0.0, 5.0])
def test_a_distance_of_pictures_is_taken_of_what_the_latents_decode_to(weight: float) -> None:
    student, target = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[tuple[Tensor, Tensor]] = []

    def distance(one: Tensor, other: Tensor) -> Tensor:
        seen.append((one, other))
        return (one - other).abs().flatten(1).sum(1)

    found = picture_distance(decode, distance, weight)(student, target)
    assert torch.equal(seen[0][0], decode(student)) and torch.equal(seen[0][1], decode(target))
    gap = student - target
    torch.testing.assert_close(found, 2 * gap.abs().flatten(1).sum(1) + weight * gap.square().flatten(1).mean(1))


def test_the_gradient_of_a_picture_distance_runs_through_the_students_picture_alone() -> None:
    student, target = torch.randn(2, 1, 3, 3, requires_grad=True), torch.randn(2, 1, 3, 3)
    traced: list[bool] = []

    def traced_decode(latent: Tensor) -> Tensor:
        traced.append(torch.is_grad_enabled())
        return decode(latent)

    distance = picture_distance(traced_decode, lambda one, other: squared(one - other), 0.0)
    distance(student, target).sum().backward()
    assert sorted(traced) == [False, True], "the target's picture is decoded without a trace"
    assert student.grad is not None
    torch.testing.assert_close(student.grad, 8 * (student - target).detach() / 9)


def test_the_teachers_loss_mixes_by_the_table_and_is_zero_for_the_noise() -> None:
    rng = torch.Generator().manual_seed(0)
    latent, noise = torch.randn(2, 3, 1, 2, 2, generator=rng)
    timestep = torch.tensor([0, 500, 999])
    seen: dict[str, Tensor] = {}

    def network(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        seen.update(x=x, time=time)
        return noise + 0.5

    table = ALPHAS_CUMPROD.float()
    loss = epsilon_loss(network, table, latent, noise, timestep, TEXT)
    weight = torch.minimum(1 / table, torch.tensor(MAX_WEIGHT))
    assert weight[999] == MAX_WEIGHT and weight[0] < 1.01
    assert float(loss) == pytest.approx(0.25 * float(weight[timestep].mean() / weight.mean()), rel=1e-5)
    assert seen["time"].dtype == torch.float32 and seen["time"].tolist() == [0, 500, 999]
    # On the straight scale the same point is the path's, but for the factor alpha + s.
    alpha, s = ALPHAS_CUMPROD[timestep].float().sqrt(), (1 - ALPHAS_CUMPROD[timestep].float()).sqrt()
    path = interpolate(noise, latent, s / (alpha + s))
    torch.testing.assert_close(seen["x"], path * (alpha + s).view(-1, 1, 1, 1))


def test_lpips_huber_is_zero_at_the_true_velocity_and_weighs_its_two_parts() -> None:
    noise, latent, sigma = coupling()
    seen: list[tuple[Tensor, Tensor]] = []

    def pictures(one: Tensor, other: Tensor) -> Tensor:
        seen.append((one, other))
        return squared(one - other)

    assert pictured_reflow_loss(true_velocity, noise, latent, TEXT, sigma, pictures) < 1e-9
    torch.testing.assert_close(*seen[0])
    off = pictured_reflow_loss(lambda x, s, c: true_velocity(x, s, c) + 0.5, noise, latent, TEXT, sigma, pictures)
    # The velocity is .5 off, the end of the straight line to sigma = 0 therefore .5 sigma.
    huber = pseudo_huber(torch.full_like(noise[:1], 0.5))
    assert float(off) == pytest.approx(float(((1 - sigma) * huber + 0.25 * sigma**2).mean()), rel=1e-4)


def test_lpips_huber_of_a_student_is_the_sum_of_both() -> None:
    student, target = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    found = pictured_huber(latent_distance("l2"))(student, target)
    torch.testing.assert_close(found, pseudo_huber(student - target) + squared(student - target))


def diffusion_of(prediction: str, off: float = 0.0) -> Diffusion:
    """The exact network of the coupling latent = MEAN + SPREAD noise on the variance preserving path, `off` aside."""
    table = ALPHAS_CUMPROD.float()

    def network(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        alpha_bar = table[timestep.long()].view(-1, 1, 1, 1)
        alpha, s = alpha_bar.sqrt(), (1 - alpha_bar).sqrt()
        noise = (x - alpha * MEAN) / (alpha * SPREAD + s)
        return off + (noise if prediction == "epsilon" else alpha * noise - s * (MEAN + SPREAD * noise))

    return Diffusion(network, table, prediction)  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_rectified_diffusion_is_zero_for_the_network_that_knows_each_pairs_noise(
    prediction: str, distance: str
) -> None:
    noise, latent, level = coupling()
    assert rectified_diffusion_loss(diffusion_of(prediction), noise, latent, TEXT, level, distance) < 1e-6
    off = rectified_diffusion_loss(diffusion_of(prediction, 0.5), noise, latent, TEXT, level, distance)
    assert float(off) == pytest.approx(float(DISTANCES[distance](torch.full_like(noise, 0.5)).mean()), rel=1e-3)


def test_a_level_is_a_part_of_the_table() -> None:
    model = diffusion_of("epsilon")
    assert model.timestep(torch.tensor([0.0, 0.0009, 0.5, 0.9999, 1.0])).tolist() == [0, 0, 500, 999, 999]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_single_step_of_a_diffusion_model_starts_with_noise_at_its_last_timestep(prediction: str) -> None:
    noise, _, _ = coupling()
    model = diffusion_of(prediction)
    alpha, s = (part[0, 0, 0, 0] for part in model.alpha_s(torch.tensor([999])))
    # What the network takes for noise and data satisfies noise = alpha x0 + s epsilon.
    epsilon = (noise - alpha * MEAN) / (alpha * SPREAD + s)
    torch.testing.assert_close(
        one_step(last_timestep(model), noise, TEXT), (noise - s * epsilon) / alpha, atol=1e-4, rtol=1e-4
    )
