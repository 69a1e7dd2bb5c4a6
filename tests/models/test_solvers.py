"""ODE solvers against flows whose answers are known."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from models.condition import Condition
from models.solvers import (
    DIFFUSION_SOLVERS,
    FLOW_SOLVERS,
    ZERO_SNR_SOLVERS,
    diffusion_ode,
    euler,
    heun,
    sigma_grid,
    straightness,
)
from models.velocity import Prediction, Velocity
from tests.models.known import ALPHAS_CUMPROD, TEXT, ZERO_SNR, exact_velocity, gaussian, points

NOISE = torch.linspace(-2, 2, 8, dtype=torch.float64).view(2, 1, 2, 2)


def constant(speed: float) -> Velocity:
    return lambda x, sigma, text: torch.full_like(x, speed)


def in_time(speed: float) -> Velocity:
    """v = speed * sigma, whatever x is."""
    return lambda x, sigma, text: speed * sigma.view(-1, 1, 1, 1).expand_as(x)


@given(st.integers(1, 200))
def test_the_grid_goes_from_1_to_0_in_equal_steps_but_for_a_thousandth(steps: int) -> None:
    grid = sigma_grid(steps)
    assert (grid[0], grid[-1], len(grid)) == (1, 0, steps + 1)
    assert all(-1e-12 < sigma - (1 - i / steps) < 1e-3 for i, sigma in enumerate(grid))
    assert all((1000 * sigma) == round(1000 * sigma) for sigma in grid), "a timestep that no stock scheduler can tell"


@given(st.floats(-5, 5), st.integers(1, 60))
def test_euler_is_exact_for_a_constant_velocity(speed: float, steps: int) -> None:
    torch.testing.assert_close(euler(constant(speed), NOISE, TEXT, sigma_grid(steps)), NOISE - speed)


def test_euler_calls_the_field_with_one_sigma_per_sample_at_the_beginning_of_each_step() -> None:
    seen: list[Tensor] = []

    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        seen.append(sigma)
        return x

    euler(velocity, NOISE, TEXT, sigma_grid(4))
    assert [sigma.tolist() for sigma in seen] == [[at, at] for at in (1.0, 0.75, 0.5, 0.25)]


def test_euler_converges_to_the_linear_flow_at_first_order() -> None:
    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return 0.8 * x + 0.3

    exact = (NOISE + 0.375) * math.exp(-0.8) - 0.375
    errors = [float((euler(velocity, NOISE, TEXT, sigma_grid(n)) - exact).abs().max()) for n in (50, 100, 200)]
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert orders == pytest.approx([1, 1], abs=0.02)


@pytest.mark.parametrize("solver", ["heun", "unipc"])
def test_flow_solvers_of_second_order_beat_euler_at_equal_calls(solver: str) -> None:
    mean, spread, x = 0.5, 0.6, points(9)
    exact = mean + spread * x  # the flow of a Gaussian maps quantiles to quantiles

    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return exact_velocity(x, float(sigma[0]), mean, spread)

    def error(name: str, steps: int) -> float:
        return float((FLOW_SOLVERS[name](velocity, x, TEXT, sigma_grid(steps)) - exact).abs().max())

    for steps in (10, 20, 40):
        assert error(solver, steps // 2 if solver == "heun" else steps) < 0.5 * error("euler", steps)


def test_heun_converges_at_second_order() -> None:
    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return x * sigma.view(-1, 1, 1, 1)

    errors = [float((heun(velocity, NOISE, TEXT, sigma_grid(n)) - NOISE * math.exp(-0.5)).abs().max())
              for n in (50, 100, 200)]  # fmt: skip
    orders = [math.log2(a / b) for a, b in zip(errors, errors[1:], strict=False)]
    assert orders == pytest.approx([2, 2], abs=0.05)


def test_each_flow_solver_makes_the_calls_that_its_price_says() -> None:
    calls: list[float] = []

    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        calls.append(float(sigma[0]))
        return x

    for name, expected in (("euler", 5), ("heun", 9), ("unipc", 5)):
        calls.clear()
        FLOW_SOLVERS[name](velocity, NOISE, TEXT, sigma_grid(5))
        assert len(calls) == expected and calls[0] == 1


def scheduler_config(prediction: Prediction, zero_snr: bool = False) -> dict[str, Any]:
    """Stable Diffusion's table in a scheduler that is none of ours."""
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        rescale_betas_zero_snr=zero_snr,
    )
    return dict(scheduler.config)


@pytest.mark.parametrize(
    ("solver", "prediction", "zero_snr"),
    [
        *((solver, prediction, False) for solver in DIFFUSION_SOLVERS for prediction in get_args(Prediction)),
        *((solver, "v_prediction", True) for solver in ZERO_SNR_SOLVERS),
    ],
)
def test_diffusion_solvers_converge_to_the_ode_of_a_gaussian_teacher(
    solver: str, prediction: Prediction, zero_snr: bool
) -> None:
    mean, spread, x = 0.5, 0.6, points(9)
    table = ZERO_SNR if zero_snr else ALPHAS_CUMPROD
    alpha_bar = table[-1]
    # The flow maps the quantiles of the first Gaussian to those of the data.
    start = torch.sqrt(alpha_bar * spread**2 + 1 - alpha_bar)
    exact = mean + spread * (x - alpha_bar.sqrt() * mean) / start
    network, config = gaussian(mean, spread, prediction, table), scheduler_config(prediction, zero_snr)
    steps = (10, 20, 40, 100, 200, 500)  # divisors of 1,000: DDIM of diffusers rounds its grid for others
    errors = [float((diffusion_ode(network, config, x, TEXT, n, solver) - exact).abs().max()) for n in steps]
    assert all(b < 0.75 * a for a, b in zip(errors, errors[1:], strict=False)), errors
    assert errors[-1] < 0.02


def test_dpm_solver_beats_ddim_at_equal_steps() -> None:
    def error(solver: str) -> Tensor:
        network, config = gaussian(0.5, 0.6, "epsilon"), scheduler_config("epsilon")
        few, many = (diffusion_ode(network, config, points(), TEXT, n, solver) for n in (20, 1000))
        return (few - many).abs().max()

    assert error("dpmsolver++") < 0.7 * error("ddim")


@given(st.floats(-5, 5), st.integers(1, 40))
def test_a_straight_flow_at_constant_speed_has_straightness_0(speed: float, steps: int) -> None:
    values, _ = straightness(constant(speed), NOISE, TEXT, steps)
    torch.testing.assert_close(values, torch.zeros(2, dtype=torch.float64))


@given(st.floats(0.1, 5), st.integers(1, 40))
def test_the_straightness_of_a_straight_path_at_changing_speed_is_the_variance_of_the_speed(
    speed: float, steps: int
) -> None:
    values, path = straightness(in_time(speed), NOISE, TEXT, steps)
    # sigma takes the values 1/N ... N/N; their variance is (N^2 - 1) / (12 N^2)
    expected = speed**2 * (steps**2 - 1) / (12 * steps**2)
    torch.testing.assert_close(
        values, torch.full((2,), expected, dtype=torch.float64), atol=2e-3 * speed**2, rtol=0
    )  # the grid is rounded to thousandths
    assert len(path) == steps + 1 and torch.equal(path[0], NOISE)
    torch.testing.assert_close(path[-1], euler(in_time(speed), NOISE, TEXT, sigma_grid(steps)))


def test_straightness_is_per_element_and_per_sample() -> None:
    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return torch.stack([sigma[0].expand(1, 2, 2), torch.zeros(1, 2, 2)]).to(x)

    values, _ = straightness(velocity, NOISE, TEXT, 2)
    assert values.tolist() == pytest.approx([1 / 16, 0])  # speeds 1 and 1/2 about their mean 3/4
