"""Velocity fields: the sign, the direction, the time, and the exact conversion of a diffusion network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.condition import Condition
from models.losses import reflow_loss
from models.solvers import euler, sigma_grid
from models.velocity import NoiseTable, Prediction, Velocity, alpha_s, converted, guided, interpolate, raw
from tests.models.known import ALPHAS_CUMPROD, TABLE, TEXT, ZERO_SNR, exact_velocity, gaussian, points

MEANS, SPREADS = st.floats(-2, 2), st.floats(0.2, 2)


@given(st.floats(0, 1), st.integers(0, 2**31))
def test_a_path_is_straight_from_latent_to_noise(sigma: float, seed: int) -> None:
    noise, latent = torch.randn(2, 3, 2, 2, 2, generator=torch.Generator().manual_seed(seed)).double()
    at = interpolate(noise, latent, torch.full((3,), sigma, dtype=torch.float64))
    torch.testing.assert_close(at, latent + sigma * (noise - latent))


def test_the_ends_of_a_path_are_the_pair() -> None:
    noise, latent = torch.randn(2, 4, 1, 2, 2)
    per_sample = interpolate(noise, latent, torch.tensor([0.0, 1.0, 0.0, 1.0]))
    assert torch.equal(per_sample[::2], latent[::2]) and torch.equal(per_sample[1::2], noise[1::2])


def test_the_timestep_is_a_float_and_1000_at_sigma_1() -> None:
    seen: list[Tensor] = []

    def network(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        seen.append(timestep)
        return x

    sigma = torch.tensor([1.0, 0.5, 0.0005, 0.0])
    raw(network)(torch.zeros(4, 1, 1, 1), sigma, TEXT)
    assert seen[0].dtype == torch.float32
    assert seen[0].tolist() == [1000.0, 500.0, pytest.approx(0.5), 0.0]


@settings(max_examples=40)
@given(MEANS, SPREADS, st.sampled_from(["epsilon", "v_prediction"]), st.floats(float(TABLE[0]), float(TABLE[-1])))
def test_the_converted_field_of_a_gaussian_teacher_is_exact(
    mean: float, spread: float, prediction: Prediction, sigma: float
) -> None:
    x = points()
    field = converted(gaussian(mean, spread, prediction), ALPHAS_CUMPROD, prediction)
    found = field(x, torch.full((len(x),), sigma, dtype=torch.float64), TEXT)
    torch.testing.assert_close(found, exact_velocity(x, sigma, mean, spread), atol=1e-8, rtol=1e-8)


def test_each_sample_of_a_batch_has_its_own_sigma() -> None:
    x, sigma = points(5), torch.linspace(0.1, 0.9, 5, dtype=torch.float64)
    found = converted(gaussian(0.5, 0.7, "epsilon"), ALPHAS_CUMPROD, "epsilon")(x, sigma, TEXT)
    alone = [exact_velocity(x[i], float(sigma[i]), 0.5, 0.7) for i in range(5)]
    torch.testing.assert_close(found, torch.stack(alone), atol=1e-8, rtol=1e-8)


@given(MEANS, SPREADS, st.floats(0.03, 1))
def test_with_zero_terminal_snr_the_converted_field_is_exact_up_to_sigma_1(
    mean: float, spread: float, sigma: float
) -> None:
    assert float(NoiseTable.of(ZERO_SNR).sigmas[-1]) == 1
    x, at = points(), torch.full((8,), sigma, dtype=torch.float64)
    field = converted(gaussian(mean, spread, "v_prediction", ZERO_SNR), ZERO_SNR, "v_prediction")
    torch.testing.assert_close(field(x, at, TEXT), exact_velocity(x, sigma, mean, spread), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_beyond_the_noise_table_the_time_is_clamped(prediction: Prediction) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    teacher = gaussian(0.3, 0.8, prediction)

    def network(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        seen.append((x, timestep))
        return teacher(x, timestep, condition)

    assert float(TABLE[-1]) == pytest.approx(0.936, abs=5e-4)
    x = points()
    for sigma in (0.94, 0.97, 1.0):
        at = torch.full((len(x),), sigma, dtype=torch.float64)
        assert converted(network, ALPHAS_CUMPROD, prediction)(x, at, TEXT).isfinite().all()
    assert all((timestep == 999).all() for _, timestep in seen)
    torch.testing.assert_close(seen[-1][0], x)  # at sigma = 1 the network sees the noise itself


@given(st.floats(0, 999))
def test_the_noise_table_finds_the_timestep_of_a_sigma(timestep: float) -> None:
    sigma = torch.from_numpy(np.interp([timestep], np.arange(1000), TABLE.numpy()))
    found, inside = NoiseTable(TABLE).timestep(sigma)
    assert found.item() == pytest.approx(timestep, abs=1e-6) and torch.equal(inside, sigma)


def test_alpha_and_s_are_variance_preserving_on_the_straight_scale() -> None:
    alpha, s = alpha_s(TABLE)
    torch.testing.assert_close(alpha**2, ALPHAS_CUMPROD)
    torch.testing.assert_close(alpha**2 + s**2, torch.ones_like(s))
    torch.testing.assert_close(s / (alpha + s), TABLE)


def drawn(batch: int, whole: bool) -> Condition:
    """A random condition, of every part if it is `whole`, else of the text alone."""
    text = torch.randn(batch, 5, 4)
    return Condition(text, torch.randn(batch, 3), torch.randn(batch, 6)) if whole else Condition(text)


@given(st.floats(-3, 12), st.integers(1, 4), st.booleans())
def test_a_guided_field_equals_two_forwards(guidance: float, batch: int, whole: bool) -> None:
    x, condition, null = torch.randn(batch, 2, 3, 3), drawn(batch, whole), drawn(1, whole)
    time, calls = torch.rand(batch), []

    def network(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        calls.append((len(x), len(condition)))
        told = condition.text.mean((1, 2))
        for part in (condition.pooled, condition.size):
            told = told if part is None else told + part.mean(1)
        return torch.sin(x * told.view(-1, 1, 1, 1)) + time.view(-1, 1, 1, 1)

    without, with_text = network(x, time, null.expand(batch)), network(x, time, condition)
    calls.clear()
    found = guided(network, null, guidance)(x, time, condition)
    torch.testing.assert_close(found, (1 - guidance) * without + guidance * with_text, atol=1e-4, rtol=1e-4)
    assert calls == ([(batch, batch)] if guidance == 1 else [(2 * batch, 2 * batch)])


def test_the_empty_prompt_of_another_family_guides_nothing() -> None:
    with pytest.raises(ValueError, match="conditions of different families"):
        guided(lambda x, time, condition: x, drawn(1, whole=True), 2.0)(
            torch.zeros(2, 1, 1, 1), torch.zeros(2), drawn(2, whole=False)
        )


def test_guidance_1_costs_one_branch() -> None:
    calls: list[int] = []

    def network(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        calls.append(len(x))
        return x

    guided(network, TEXT, 1.0)(torch.zeros(3, 1, 1, 1), torch.zeros(3), TEXT.expand(3))
    assert calls == [3]


MEAN, SPREAD = 1.5, 0.4


def trained(loss: Callable[[Velocity, Tensor, Tensor, Tensor], Tensor]) -> tuple[Velocity, Tensor, Tensor]:
    """A regression velocity a(sigma) x + b(sigma) fitted to the pairs noise -> MEAN + SPREAD noise, and the pairs."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(512, 1, 1, 1, generator=rng, dtype=torch.float64)
    latent, sigma = MEAN + SPREAD * noise, torch.rand(512, generator=rng, dtype=torch.float64)
    weights = torch.zeros(2, 6, dtype=torch.float64, requires_grad=True)

    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        slope, offset = weights @ torch.stack([sigma**k for k in range(6)])
        return slope.view(-1, 1, 1, 1) * x + offset.view(-1, 1, 1, 1)

    optimizer = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss(velocity, noise, latent, sigma)
        value.backward()
        return value

    optimizer.step(closure)  # type: ignore[arg-type]
    return velocity, noise, latent


def test_a_field_trained_by_the_reflow_loss_carries_noise_to_data() -> None:
    velocity, noise, latent = trained(lambda v, n, x, s: reflow_loss(v, n, x, TEXT, s, "l2"))
    assert (euler(velocity, noise, TEXT, sigma_grid(50)) - latent).abs().max() < 0.05


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda v, n, x, s: reflow_loss(v, x, n, TEXT, s, "l2"), id="direction"),
        pytest.param(lambda v, n, x, s: reflow_loss(lambda y, t, c: -v(y, t, c), n, x, TEXT, s, "l2"), id="sign"),
    ],
)
def test_a_field_trained_the_wrong_way_round_does_not(
    wrong: Callable[[Velocity, Tensor, Tensor, Tensor], Tensor],
) -> None:
    velocity, noise, latent = trained(wrong)
    assert (euler(velocity, noise, TEXT, sigma_grid(50)) - latent).abs().max() > 0.5
