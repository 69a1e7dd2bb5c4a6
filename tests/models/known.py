"""Networks and fields whose answers are known."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from models.condition import Condition
from models.mini.teacher import build_scheduler
from models.velocity import Network, NoiseTable, Prediction, alpha_s

TEXT = Condition(torch.zeros(1, 1, 1))
"""What networks are told that do not listen."""

ALPHAS_CUMPROD = build_scheduler().alphas_cumprod.double()
"""Stable Diffusion's table."""

TABLE = NoiseTable.of(ALPHAS_CUMPROD).sigmas


ZERO_SNR = DDIMScheduler.from_config(build_scheduler().config, rescale_betas_zero_snr=True).alphas_cumprod.double()
"""The same stretched to nothing but noise at its end (Lin et al. 2023)."""


def gaussian(mean: float, spread: float, prediction: Prediction, table: Tensor = ALPHAS_CUMPROD) -> Network:
    """The exact network for data N(mean, spread^2): E[epsilon | x_vp], or E[alpha epsilon - s x0 | x_vp].

    Between two timesteps the noise level is interpolated on the straight scale s / (alpha + s).
    """

    def network(x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        sigma = np.interp(timestep.numpy(), np.arange(1000), NoiseTable.of(table).sigmas.numpy())
        alpha, s = alpha_s(torch.from_numpy(sigma).view(-1, 1, 1, 1))
        gap = (x - alpha * mean) / (alpha**2 * spread**2 + s**2)
        epsilon, x0 = s * gap, mean + alpha * spread**2 * gap
        return epsilon if prediction == "epsilon" else alpha * epsilon - s * x0

    return network


def exact_velocity(x: Tensor, sigma: float, mean: float, spread: float) -> Tensor:
    """E[noise - x0 | (1 - sigma) x0 + sigma noise = x] for x0 of N(mean, spread^2) and independent noise."""
    covariance = sigma - (1 - sigma) * spread**2
    return covariance / ((1 - sigma) ** 2 * spread**2 + sigma**2) * (x - (1 - sigma) * mean) - mean


def points(count: int = 8) -> Tensor:
    return torch.linspace(-3, 3, count, dtype=torch.float64).view(count, 1, 1, 1)
