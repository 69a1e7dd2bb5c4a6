"""One reflow of a two-dimensional flow: the marginals stay, the paths get straighter, few steps suffice."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from models.condition import Condition
from models.losses import (
    Diffusion,
    draw_sigma,
    last_timestep,
    latent_distance,
    one_step,
    pictured_reflow_loss,
    rectified_diffusion_loss,
    reflow_loss,
)
from models.solvers import diffusion_ode, euler, sigma_grid, straightness
from models.velocity import Velocity
from tests.models.known import ALPHAS_CUMPROD

CENTRES = torch.tensor([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
SPREAD, SAMPLES, TEXT = 0.3, 4000, Condition(torch.zeros(1, 1, 1))


def draw_data(rng: torch.Generator) -> Tensor:
    """Samples [SAMPLES, 2, 1, 1] of the three Gaussians."""
    which = torch.randint(len(CENTRES), (SAMPLES,), generator=rng)
    return _points(CENTRES[which] + SPREAD * torch.randn(SAMPLES, 2, generator=rng))


def draw_noise(rng: torch.Generator) -> Tensor:
    return _points(torch.randn(SAMPLES, 2, generator=rng))


def _points(rows: Tensor) -> Tensor:
    return rows.view(-1, 2, 1, 1)


def first_flow(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
    """The exact 1-rectified flow E[noise - latent | x_sigma] of the mixture under the independent coupling."""
    s, point = sigma.view(-1, 1, 1), x.view(-1, 1, 2)
    variance = (1 - s) ** 2 * SPREAD**2 + s**2
    gap = point - (1 - s) * CENTRES
    weight = torch.softmax(-gap.square().sum(2, keepdim=True) / (2 * variance), dim=1)
    velocity = (s - (1 - s) * SPREAD**2) / variance * gap - CENTRES
    return _points((weight * velocity).sum(1))


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|: zero iff the distributions are equal (Szekely and Rizzo)."""
    a, b = a.view(-1, 2), b.view(-1, 2)
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


class Field(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        return _points(self.layers(torch.cat([x.view(-1, 2), sigma.view(-1, 1)], dim=1)))


class Reflowed(NamedTuple):
    velocity: Velocity
    noise: Tensor
    data: Tensor
    floor: float


PairLoss = Callable[[Field, Tensor, Tensor, torch.Generator], Tensor]


def trained(loss: PairLoss) -> Field:
    """A field trained on the pairs of the exact first flow."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    noise = draw_noise(rng)
    latent = euler(first_flow, noise, TEXT, sigma_grid(100))
    field, batch, steps = Field(), 256, 1500
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        ids = torch.randint(SAMPLES, (batch,), generator=rng)
        optimizer.zero_grad()
        loss(field, noise[ids], latent[ids], rng).backward()
        optimizer.step()
        schedule.step()
    return field


def paper(field: Field, noise: Tensor, latent: Tensor, rng: torch.Generator) -> Tensor:
    return reflow_loss(
        field, noise, latent, TEXT, draw_sigma(torch.rand(2, len(noise), generator=rng), "uniform"), "l2"
    )


def plus_plus(field: Field, noise: Tensor, latent: Tensor, rng: torch.Generator) -> Tensor:
    """2-RF++; the point itself stands for its picture."""
    sigma = draw_sigma(torch.rand(2, len(noise), generator=rng), "u_shaped")
    return pictured_reflow_loss(field, noise, latent, TEXT, sigma, latent_distance("l2"))


def rectified_diffusion(field: Field, noise: Tensor, latent: Tensor, rng: torch.Generator) -> Tensor:
    level = torch.rand(len(noise), generator=rng)
    return rectified_diffusion_loss(diffusion_of(field), noise, latent, TEXT, level, "l2")


def diffusion_of(field: Field) -> Diffusion:
    """The field as a v-predicting network, which unlike epsilon loses no digits at the last timestep."""
    return Diffusion(lambda x, t, condition: field(x, t / 1000, condition), ALPHAS_CUMPROD.float(), "v_prediction")


def fresh(velocity: Velocity) -> Reflowed:
    """With fresh noise and a fresh draw of the data, and how far such draws are from it."""
    rng = torch.Generator().manual_seed(1)
    noise, data = draw_noise(rng), draw_data(rng)
    return Reflowed(velocity, noise, data, max(energy_distance(draw_data(rng), data) for _ in range(8)))


@pytest.fixture(scope="module", params=[paper, plus_plus])
def reflowed(request: pytest.FixtureRequest) -> Reflowed:
    return fresh(trained(request.param))


def test_the_exact_first_flow_reaches_the_data(reflowed: Reflowed) -> None:
    made = euler(first_flow, reflowed.noise, TEXT, sigma_grid(100))
    assert energy_distance(made, reflowed.data) < 2 * reflowed.floor


def test_one_reflow_keeps_the_marginals(reflowed: Reflowed) -> None:
    made = euler(reflowed.velocity, reflowed.noise, TEXT, sigma_grid(50))
    assert energy_distance(made, reflowed.data) < 4 * reflowed.floor
    assert energy_distance(reflowed.noise, reflowed.data) > 50 * reflowed.floor  # what the bound is worth


def test_one_reflow_straightens_the_paths(reflowed: Reflowed) -> None:
    before, after = (
        float(straightness(v, reflowed.noise, TEXT, 50)[0].mean()) for v in (first_flow, reflowed.velocity)
    )
    assert after < before / 20


def test_one_reflow_makes_one_step_good(reflowed: Reflowed) -> None:
    before, after = (
        energy_distance(euler(v, reflowed.noise, TEXT, sigma_grid(1)), reflowed.data)
        for v in (first_flow, reflowed.velocity)
    )
    assert after < before / 20


def test_rectified_diffusion_makes_few_steps_good_without_another_parameterization() -> None:
    """Noise is predicted on the variance preserving path as before: the coupling alone makes DDIM need fewer steps."""
    model = diffusion_of(trained(rectified_diffusion))
    drawn = fresh(last_timestep(model))
    scheduler = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    scheduler |= {"prediction_type": "v_prediction"}

    def error(steps: int) -> float:
        made = diffusion_ode(model.network, scheduler, drawn.noise, TEXT, steps, "ddim")
        return energy_distance(made, drawn.data)

    student = one_step(drawn.velocity, drawn.noise, TEXT).detach()
    assert energy_distance(student, drawn.data) == pytest.approx(error(1), rel=1e-2), "one DDIM step"
    assert error(1) < energy_distance(euler(first_flow, drawn.noise, TEXT, sigma_grid(1)), drawn.data) / 20
    assert error(2) < energy_distance(euler(first_flow, drawn.noise, TEXT, sigma_grid(2)), drawn.data) / 5
    assert error(50) < 8 * drawn.floor
