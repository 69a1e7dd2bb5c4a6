"""Velocity fields: sigma = 1 is noise, sigma = 0 is data, x = (1 - sigma) latent + sigma noise, v = noise - latent.

The paper (arXiv 2309.06380) writes t = 1 - sigma and v = X1 - X0: its velocity is the negative of ours.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from models.condition import Condition

TIMESTEPS = 1000

Velocity = Callable[[Tensor, Tensor, Condition], Tensor]
"""v(x [B, C, H, W], sigma [B], condition of B samples) -> [B, C, H, W]."""

Network = Callable[[Tensor, Tensor, Condition], Tensor]
"""A denoiser called with a float timestep in 0..1000 instead of sigma."""

Prediction = Literal["epsilon", "v_prediction"]


def interpolate(noise: Tensor, latent: Tensor, sigma: Tensor) -> Tensor:
    """The point of the straight path at ``sigma`` [B]: (1 - sigma) latent + sigma noise."""
    s = _per_sample(sigma)
    return (1 - s) * latent + s * noise


def raw(network: Network) -> Velocity:
    """Read a network's output as the velocity, at timestep 1000 sigma (a float, never a long): the paper's start.

    An epsilon network predicts the noise, so its output already points the way of noise - latent.
    """
    return lambda x, sigma, condition: network(x, TIMESTEPS * sigma, condition)


def converted(network: Network, alphas_cumprod: Tensor, prediction: Prediction) -> Velocity:
    """The velocity field of a variance-preserving diffusion network, exact at once (method, section 2).

    x_vp = alpha latent + s noise, sigma = s / (alpha + s). Beyond the last sigma of the noise table (.936 for Stable
    Diffusion) the time is clamped: alpha would go to 0 and x0 to NaN.
    """
    table = NoiseTable.of(alphas_cumprod)

    def velocity(x: Tensor, sigma: Tensor, condition: Condition) -> Tensor:
        # alpha + s = 1 / |(1 - sigma, sigma)|: exact within the table, and unit variance beyond it.
        x_vp = x / _per_sample(torch.sqrt((1 - sigma) ** 2 + sigma**2))
        timestep, inside = table.timestep(sigma)
        alpha, s = (_per_sample(part) for part in alpha_s(inside))
        epsilon, x0 = epsilon_x0(network(x_vp, timestep, condition), x_vp, alpha, s, prediction)
        return epsilon - x0

    return velocity


def epsilon_x0(output: Tensor, x_vp: Tensor, alpha: Tensor, s: Tensor, prediction: Prediction) -> tuple[Tensor, Tensor]:
    """Noise and data estimates from a network's output at x_vp = alpha x0 + s epsilon."""
    if prediction == "epsilon":
        return output, (x_vp - s * output) / alpha
    return s * x_vp + alpha * output, alpha * x_vp - s * output


def alpha_s(sigma: Tensor) -> tuple[Tensor, Tensor]:
    """(alpha, s) with alpha^2 + s^2 = 1 and s / (alpha + s) = sigma."""
    norm = torch.sqrt((1 - sigma) ** 2 + sigma**2)
    return (1 - sigma) / norm, sigma / norm


@dataclass(frozen=True)
class NoiseTable:
    """A diffusion model's noise levels on the straight scale: sigma of each integer timestep, increasing."""

    sigmas: Tensor

    @classmethod
    def of(cls, alphas_cumprod: Tensor) -> "NoiseTable":
        """From the cumulative alphas of a diffusers scheduler [T]."""
        alpha, s = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
        return cls(s / (alpha + s))

    def timestep(self, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """The (fractional) timestep of each sigma [B], and sigma clamped to the table's range."""
        sigmas = self.sigmas.to(sigma)
        inside = sigma.clamp(sigmas[0], sigmas[-1])
        upper = torch.searchsorted(sigmas, inside.contiguous()).clamp(1, len(sigmas) - 1)
        lower = upper - 1
        return lower + (inside - sigmas[lower]) / (sigmas[upper] - sigmas[lower]), inside


def guided(network: Network, null: Condition, guidance: float) -> Network:
    """v_a = v(null) + a (v(text) - v(null)) in one batched forward; a = 1 is off and costs one branch only.

    ``null`` is the condition of one empty prompt. Works on velocities and on epsilons alike.
    """
    if guidance == 1:
        return network

    def both(x: Tensor, time: Tensor, condition: Condition) -> Tensor:
        conditions = null.expand(len(condition)).followed_by(condition)
        without, with_text = network(torch.cat([x, x]), torch.cat([time, time]), conditions).chunk(2)
        return without + guidance * (with_text - without)

    return both


def _per_sample(value: Tensor) -> Tensor:
    """[B] -> [B, 1, 1, 1]; scalars stay scalars."""
    return value.view(-1, 1, 1, 1) if value.dim() else value
