"""The losses of the chain, as equations: epsilon prediction, reflow, one-step distillation."""

import math
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from models.velocity import Network, Velocity, interpolate

SigmaDensity = Literal["uniform", "u_shaped"]
Distance = Literal["l2", "huber"]

U_SHAPE = 4.0
"""Steepness a of the density exp(a sigma) + exp(a (1 - sigma)) (2-RF++, Lee et al. 2024, section 4.1)."""

HUBER_SCALE = 0.00054
"""c = .00054 sqrt(d) of the pseudo-Huber loss (2-RF++, after improved consistency training)."""


def draw_sigma(count: int, density: SigmaDensity, generator: torch.Generator) -> Tensor:
    """Noise levels [count] in 0..1: uniform, or crowded at both ends."""
    u = torch.rand(count, generator=generator)
    if density == "uniform":
        return u
    rising = torch.log1p(u * math.expm1(U_SHAPE)) / U_SHAPE
    return torch.where(torch.rand(count, generator=generator) < 0.5, rising, 1 - rising)


def squared(difference: Tensor) -> Tensor:
    """Mean square per element, [B]."""
    return difference.float().square().flatten(1).mean(1)


def pseudo_huber(difference: Tensor) -> Tensor:
    """sqrt(||d||^2 + c^2) - c per sample, [B], over sqrt(elements): near the scale of one element."""
    elements = difference[0].numel()
    c = HUBER_SCALE * math.sqrt(elements)
    return (torch.sqrt(difference.float().square().flatten(1).sum(1) + c**2) - c) / math.sqrt(elements)


DISTANCES: dict[str, Callable[[Tensor], Tensor]] = {"l2": squared, "huber": pseudo_huber}


def reflow_loss(
    velocity: Velocity, noise: Tensor, latent: Tensor, text: Tensor, sigma: Tensor, distance: Distance
) -> Tensor:
    """E || (noise - latent) - v(x_sigma, sigma | text) ||^2 over a batch of pairs (paper, equation 2)."""
    predicted = velocity(interpolate(noise, latent, sigma), sigma, text)
    return DISTANCES[distance]((noise - latent) - predicted).mean()


def one_step(velocity: Velocity, noise: Tensor, text: Tensor) -> Tensor:
    """The student's latent: noise - v(noise, 1 | text)."""
    return noise - velocity(noise, noise.new_ones(len(noise)), text)


def epsilon_loss(
    network: Network, alphas_cumprod: Tensor, latent: Tensor, noise: Tensor, timestep: Tensor, text: Tensor
) -> Tensor:
    """The teacher's loss || epsilon - network(alpha latent + s epsilon) ||^2; timestep [B] of the table."""
    alpha_bar = alphas_cumprod[timestep].view(-1, 1, 1, 1)
    noisy = alpha_bar.sqrt() * latent + (1 - alpha_bar).sqrt() * noise
    return squared(network(noisy, timestep.float(), text) - noise).mean()
