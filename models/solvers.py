"""ODE solvers from noise to latent: for velocity fields, and diffusers' schedulers for diffusion teachers."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from models.condition import Condition
from models.velocity import TIMESTEPS, Network, Velocity

TABLE = (
    "num_train_timesteps",
    "beta_start",
    "beta_end",
    "beta_schedule",
    "trained_betas",
    "prediction_type",
    "rescale_betas_zero_snr",
)
"""The fields of a scheduler's config that say what a network was trained on; the others are a solver's."""


def _dpm(order: int) -> tuple[Any, dict[str, Any]]:
    options = {"algorithm_type": "dpmsolver++", "solver_order": order, "final_sigmas_type": "zero"}
    return DPMSolverMultistepScheduler, options


DIFFUSION_SOLVERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpmsolver++": _dpm(2),
    "dpmsolver++1": _dpm(1),
    "dpmsolver++3": _dpm(3),
    "unipc": (UniPCMultistepScheduler, {"solver_order": 2, "final_sigmas_type": "zero"}),
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": True}),
    "euler": (EulerDiscreteScheduler, {}),
    "heun": (HeunDiscreteScheduler, {}),
}

ZERO_SNR_SOLVERS = tuple(name for name in DIFFUSION_SOLVERS if name != "heun")
"""Those whose schedulers know a table that ends in nothing but noise (``rescale_betas_zero_snr``)."""


def sigma_grid(steps: int) -> list[float]:
    """1, 1 - 1/N, ..., 1/N, 0, each rounded up to a thousandth: the times that stock schedulers can tell a network.

    Plain floats, since indexing a tensor on a GPU waits for it at every step.
    """
    return [-(-TIMESTEPS * (steps - i) // steps) / TIMESTEPS for i in range(steps + 1)]


@torch.no_grad()
def euler(velocity: Velocity, noise: Tensor, condition: Condition, sigmas: Sequence[float]) -> Tensor:
    """Integrate dx = v dsigma along ``sigmas``, from 1 to 0; exact for straight paths at constant speed."""
    x = noise
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        x = x + (following - sigma) * velocity(x, x.new_full((len(x),), sigma), condition)
    return x


@torch.no_grad()
def heun(velocity: Velocity, noise: Tensor, condition: Condition, sigmas: Sequence[float]) -> Tensor:
    """The trapezoidal rule with an Euler predictor, of second order in 2N - 1 calls: the last step is Euler's."""
    x = noise
    for sigma, following in zip(sigmas, sigmas[1:], strict=False):
        step = following - sigma
        v = velocity(x, x.new_full((len(x),), sigma), condition)
        if following > 0:
            v = (v + velocity(x + step * v, x.new_full((len(x),), following), condition)) / 2
        x = x + step * v
    return x


@torch.no_grad()
def unipc(velocity: Velocity, noise: Tensor, condition: Condition, sigmas: Sequence[float]) -> Tensor:
    """UniPC of order 2 (Zhao et al. 2023) for flows, in N calls."""
    scheduler = UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, solver_order=2, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(sigmas=np.asarray(sigmas[:-1]))
    scheduler.set_begin_index(0)
    x = noise
    for sigma, t in zip(sigmas, scheduler.timesteps, strict=False):
        x = scheduler.step(velocity(x, x.new_full((len(x),), sigma), condition), t, x).prev_sample
    return x


FlowSolver = Callable[[Velocity, Tensor, Condition, Sequence[float]], Tensor]

FLOW_SOLVERS: dict[str, FlowSolver] = {"euler": euler, "heun": heun, "unipc": unipc}


def noise_table(scheduler_config: Mapping[str, Any]) -> Tensor:
    """The cumulative alphas [T] that a scheduler's config describes, whichever scheduler it is of."""
    table: Tensor = DDIMScheduler.from_config(_table(scheduler_config)).alphas_cumprod
    return table


def _table(scheduler_config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: scheduler_config[name] for name in TABLE if name in scheduler_config}


def diffusion_ode(
    network: Network, scheduler_config: Mapping[str, Any], noise: Tensor, condition: Condition, steps: int, solver: str
) -> Tensor:
    """Solve a diffusion model's probability-flow ODE with one of ``DIFFUSION_SOLVERS``; latents like ``noise``.

    Of the model's scheduler nothing but its noise table and prediction is taken; the grid ends where the table does.
    """
    return solve(network, solver_of(scheduler_config, solver), noise, condition, steps)


def solver_of(scheduler_config: Mapping[str, Any], solver: str) -> Any:
    """The scheduler of diffusers that solves a model of this noise table and prediction."""
    scheduler_class, options = DIFFUSION_SOLVERS[solver]
    return scheduler_class.from_config(_table(scheduler_config), timestep_spacing="trailing", **options)


@torch.no_grad()
def solve(network: Network, scheduler: Any, noise: Tensor, condition: Condition, steps: int) -> Tensor:
    """From noise to latent with a scheduler of :func:`solver_of`, which may be used again and again."""
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
