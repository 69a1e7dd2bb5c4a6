"""ODE solvers from noise to latent: Euler for velocity fields, diffusers' schedulers for diffusion teachers."""

from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor

from models.condition import Condition
from models.velocity import Network, Velocity

DIFFUSION_SOLVERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpmsolver++": (
        DPMSolverMultistepScheduler,
        {"algorithm_type": "dpmsolver++", "solver_order": 2, "final_sigmas_type": "zero"},
    ),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
    "euler": (EulerDiscreteScheduler, {}),
}


def sigma_grid(steps: int) -> list[float]:
    """1, 1 - 1/N, ..., 1/N, 0: plain floats, since indexing a tensor on a GPU waits for it at every step."""
    return [1 - i / steps for i in range(steps + 1)]


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, condition: Condition, steps: int) -> Tensor:
    """Integrate dx = v dsigma from sigma = 1 to 0 in equal steps; exact for straight paths at constant speed."""
    x, grid = noise, sigma_grid(steps)
    for sigma, following in zip(grid, grid[1:], strict=False):
        x = x + (following - sigma) * velocity(x, x.new_full((len(x),), sigma), condition)
    return x


@torch.no_grad()
def diffusion_ode(
    network: Network, scheduler_config: dict[str, Any], noise: Tensor, condition: Condition, steps: int, solver: str
) -> Tensor:
    """Solve a diffusion model's probability-flow ODE with one of ``DIFFUSION_SOLVERS``; latents like ``noise``."""
    scheduler_class, options = DIFFUSION_SOLVERS[solver]
    scheduler = scheduler_class.from_config(scheduler_config, timestep_spacing="trailing", **options)
    scheduler.set_timesteps(steps)
    x = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(x, t), x.new_full((len(x),), float(t)), condition)
        x = scheduler.step(output, t, x).prev_sample
    return x


@torch.no_grad()
def straightness(velocity: Velocity, noise: Tensor, condition: Condition, steps: int) -> tuple[Tensor, list[Tensor]]:
    """S per element and sample [B] (0 iff straight at constant speed), and the Euler path of steps + 1 points.

    S = mean over steps of || (noise - latent_end) - v(x_sigma, sigma) ||^2 / elements (paper, section 2.1).
    """
    grid, path, velocities = sigma_grid(steps), [noise], []
    for sigma, following in zip(grid, grid[1:], strict=False):
        velocities.append(velocity(path[-1], noise.new_full((len(noise),), sigma), condition))
        path.append(path[-1] + (following - sigma) * velocities[-1])
    chord = noise - path[-1]
    return torch.stack([(chord - v).square().flatten(1).mean(1) for v in velocities]).mean(0), path
