"""One reflow of a two-dimensional flow: the marginals stay, the paths get straighter, few steps suffice."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from models.condition import Condition
from models.losses import draw_sigma, reflow_loss
from models.solvers import euler, sigma_grid, straightness
from models.velocity import Velocity

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
    resampled: Tensor


@pytest.fixture(scope="module")
def reflowed() -> Reflowed:
    """A field trained on the pairs of the exact first flow, with fresh noise and two fresh draws of the data."""
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    noise = draw_noise(rng)
    latent = euler(first_flow, noise, TEXT, sigma_grid(100))
    field, batch, steps = Field(), 256, 1500
    optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        ids, sigma = torch.randint(SAMPLES, (batch,), generator=rng), draw_sigma(batch, "uniform", rng)
        optimizer.zero_grad()
        reflow_loss(field, noise[ids], latent[ids], TEXT, sigma, "l2").backward()
        optimizer.step()
        schedule.step()
    return Reflowed(field, draw_noise(rng), draw_data(rng), draw_data(rng))


def test_the_exact_first_flow_reaches_the_data(reflowed: Reflowed) -> None:
    floor = energy_distance(reflowed.data, reflowed.resampled)
    assert energy_distance(euler(first_flow, reflowed.noise, TEXT, sigma_grid(100)), reflowed.data) < 4 * floor


def test_one_reflow_keeps_the_marginals(reflowed: Reflowed) -> None:
    floor = energy_distance(reflowed.data, reflowed.resampled)
    made = euler(reflowed.velocity, reflowed.noise, TEXT, sigma_grid(50))
    assert energy_distance(made, reflowed.data) < 4 * floor
    assert energy_distance(reflowed.noise, reflowed.data) > 100 * floor  # what the bound is worth


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
