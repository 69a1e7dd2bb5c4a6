"""The losses of the chain, as equations: epsilon prediction, reflow, one-step distillation."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.condition import Condition
from models.velocity import Network, Prediction, Velocity, epsilon_x0, interpolate

SigmaDensity = Literal["uniform", "u_shaped"]

LatentDistance = Callable[[Tensor, Tensor], Tensor]
"""distance(the student's latents [B, C, H, W], the pairs') -> [B]."""

U_SHAPE = 4.0
"""Steepness a of the density exp(a sigma) + exp(a (1 - sigma)) (2-RF++, Lee et al. 2024, section 4.1)."""

MAX_WEIGHT = 50.0
"""Largest weight of a noise level in the teacher's loss, reached at alpha^2 = .02."""

HUBER_SCALE = 0.00054
"""c = .00054 sqrt(d) of the pseudo-Huber loss (2-RF++, after improved consistency training)."""


def draw_sigma(uniform: Tensor, density: SigmaDensity) -> Tensor:
    """Noise levels [B] in 0..1, uniform or crowded at both ends, from two rows of uniform numbers [2, B]."""
    u, side = uniform
    if density == "uniform":
        return u
    rising = torch.log1p(u * math.expm1(U_SHAPE)) / U_SHAPE
    return torch.where(side < 0.5, rising, 1 - rising)


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
    velocity: Velocity, noise: Tensor, latent: Tensor, condition: Condition, sigma: Tensor, distance: str
) -> Tensor:
    """E || (noise - latent) - v(x_sigma, sigma | condition) ||^2 over a batch of pairs (paper, equation 2)."""
    predicted = velocity(interpolate(noise, latent, sigma), sigma, condition)
    return DISTANCES[distance]((noise - latent) - predicted).mean()


def pictured_reflow_loss(
    velocity: Velocity, noise: Tensor, latent: Tensor, condition: Condition, sigma: Tensor, pictures: LatentDistance
) -> Tensor:
    """(1 - sigma) Huber(velocities) + D(latent, x - sigma v), with D a distance of pictures (2-RF++, section 4.2).

    The network is told of the picture that its velocity leads to, which near the noise is all that counts.
    """
    x = interpolate(noise, latent, sigma)
    predicted = velocity(x, sigma, condition)
    ends = x - sigma.view(-1, 1, 1, 1) * predicted
    return ((1 - sigma) * pseudo_huber((noise - latent) - predicted) + pictures(ends, latent)).mean()


@dataclass(frozen=True)
class Diffusion:
    """A network with what its output means: `prediction` at x = alpha latent + s noise, by a table of T alpha^2."""

    network: Network
    alphas_cumprod: Tensor
    prediction: Prediction

    def timestep(self, level: Tensor) -> Tensor:
        """The timestep 0..T-1 [B] at a part 0..1 of the table."""
        count = len(self.alphas_cumprod)
        return (level * count).long().clamp(max=count - 1)

    def alpha_s(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """alpha and s at timesteps [B], each [B, 1, 1, 1]."""
        alpha_bar = self.alphas_cumprod.to(timestep.device)[timestep].view(-1, 1, 1, 1)
        return alpha_bar.sqrt(), (1 - alpha_bar).sqrt()


def rectified_diffusion_loss(
    model: Diffusion, noise: Tensor, latent: Tensor, condition: Condition, level: Tensor, distance: str
) -> Tensor:
    """E || epsilon - network(alpha latent + s epsilon) ||^2 over pairs, where epsilon is the pair's own noise.

    v-prediction is trained on alpha noise - s latent. `level` [B] in 0..1 is the part of the table's timesteps. Source:
    Rectified Diffusion (Wang et al., ICLR 2025): not straightness of the path but the coupling makes few steps suffice.
    """
    timestep = model.timestep(level)
    alpha, s = model.alpha_s(timestep)
    target = noise if model.prediction == "epsilon" else alpha * noise - s * latent
    predicted = model.network(alpha * latent + s * noise, timestep.float(), condition)
    return DISTANCES[distance](target - predicted).mean()


def last_timestep(model: Diffusion) -> Velocity:
    """A diffusion model's single step as a velocity at sigma = 1, whatever it is asked at: noise - x0_hat(noise, T-1).

    So one Euler step of it is one DDIM step of the model from its last timestep.
    """

    def velocity(noise: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        timestep = model.timestep(torch.ones_like(sigma))
        alpha, s = model.alpha_s(timestep)
        output = model.network(noise, timestep.float(), condition)
        return noise - epsilon_x0(output, noise, alpha, s, model.prediction)[1]

    return velocity


def one_step(velocity: Velocity, noise: Tensor, condition: Condition) -> Tensor:
    """The student's latent: noise - v(noise, 1 | condition)."""
    return noise - velocity(noise, noise.new_ones(len(noise)), condition)


def distillation_loss(
    velocity: Velocity, noise: Tensor, latent: Tensor, condition: Condition, distance: LatentDistance
) -> Tensor:
    """E D(latent, noise - v(noise, 1 | condition)) over a batch of pairs (paper, equation 6)."""
    return distance(one_step(velocity, noise, condition), latent).mean()


def latent_distance(name: str) -> LatentDistance:
    """One of ``DISTANCES`` between latents."""
    of_difference = DISTANCES[name]
    return lambda student, target: of_difference(student - target)


def picture_distance(
    decode: Callable[[Tensor], Tensor], distance: LatentDistance, latent_weight: float
) -> LatentDistance:
    """A perceptual distance of the pictures that latents decode to; the gradient runs through the frozen decoder.

    Alone, the distance of a small network drifts: where noise decides between two pictures, it prefers one. A share of
    the squared latent error holds the student to its own teacher's choice.
    """

    def between(student: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            expected = decode(target)
        return distance(decode(student), expected) + latent_weight * squared(student - target)

    return between


def pictured_huber(pictures: LatentDistance) -> LatentDistance:
    """LPIPS-Huber of a student: the Huber distance of the latents and a distance of their pictures (2-RF++)."""
    return lambda student, target: pseudo_huber(student - target) + pictures(student, target)


def epsilon_loss(
    network: Network, alphas_cumprod: Tensor, latent: Tensor, noise: Tensor, timestep: Tensor, condition: Condition
) -> Tensor:
    """The teacher's loss w || epsilon - network(alpha latent + s epsilon) ||^2; timestep [B] of the table.

    w = min(1 / alpha^2, 50) over its mean: the loss of v-prediction (Salimans and Ho 2022), cut where it explodes. With
    w = 1 the highest noise levels, which decide where things are, hardly count: a small teacher then draws the right
    shape in the wrong place.
    """
    alpha_bar = alphas_cumprod[timestep]
    alpha, s = alpha_bar.sqrt().view(-1, 1, 1, 1), (1 - alpha_bar).sqrt().view(-1, 1, 1, 1)
    error = squared(network(alpha * latent + s * noise, timestep.float(), condition) - noise)
    return (_layout_weight(alpha_bar) * error).mean() / _layout_weight(alphas_cumprod).mean()


def _layout_weight(alpha_bar: Tensor) -> Tensor:
    return (1 / alpha_bar).clamp(max=MAX_WEIGHT)
