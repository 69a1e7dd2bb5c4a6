"""What a scheduler's config says of the network, and which of its fields would make another ODE of it.

The pairs are solved with the recipe's own solver and grid: of a folder's scheduler only the noise table and what the
network predicts are taken. A field that says more than that is refused, never passed over.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

DIFFUSION_CLASSES = (
    "DDIMScheduler",
    "DDPMScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "UniPCMultistepScheduler",
)
"""Schedulers over a table of betas: solvers of one and the same ODE."""

FLOW_CLASSES = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler")
"""Schedulers of nothing but flows."""

_OWN_GRID = "false: the grid of the solver is the recipe's"
_NEUTRAL: dict[str, tuple[tuple[Any, ...], str]] = {
    "thresholding": ((False,), "false: clipped estimates are another ODE"),
    "clip_sample": ((False,), "false: clipped estimates are another ODE; latents lie outside of -1..1"),
    "use_karras_sigmas": ((False, None), _OWN_GRID),
    "use_exponential_sigmas": ((False, None), _OWN_GRID),
    "use_beta_sigmas": ((False, None), _OWN_GRID),
    "use_lu_lambdas": ((False, None), _OWN_GRID),
    "beta_schedule": (("linear", "scaled_linear", "squaredcos_cap_v2"), "linear, scaled_linear or squaredcos_cap_v2"),
    "timestep_type": (("discrete",), '"discrete": the network is told the timestep'),
    "lambda_min_clipped": ((-math.inf,), "-Infinity: the solver starts where the noise table ends"),
    "stochastic_sampling": ((False,), "false: pairs are solved by an ODE"),
    "invert_sigmas": ((False,), "false: sigma is 1 at the noise"),
}
"""The values that a field may have, and what is told of any other."""


def check_scheduler(path: Path, config: Mapping[str, Any]) -> Literal["diffusion", "raw"]:
    """What a network with this scheduler is: a diffusion model, or a flow whose output is noise - latent.

    Raises ValueError naming the file, the field and its value for a class, a prediction or a flag that is not known.
    """
    for name, (allowed, expected) in _NEUTRAL.items():
        if name in config and config[name] not in allowed:
            raise ValueError(unexpected(path, name, config[name], expected))
    if config.get("_class_name") in FLOW_CLASSES:
        return "raw"
    if config.get("_class_name") not in DIFFUSION_CLASSES:
        known = ", ".join((*DIFFUSION_CLASSES, *FLOW_CLASSES))
        raise ValueError(unexpected(path, "_class_name", config.get("_class_name"), f"one of {known}"))
    return _predicts(path, config)


def _predicts(path: Path, config: Mapping[str, Any]) -> Literal["diffusion", "raw"]:
    prediction, flow = config.get("prediction_type", "epsilon"), bool(config.get("use_flow_sigmas"))
    if prediction not in ("epsilon", "v_prediction", "flow_prediction"):
        raise ValueError(unexpected(path, "prediction_type", prediction, "epsilon, v_prediction or flow_prediction"))
    if (prediction == "flow_prediction") != flow:
        expected = f"{json.dumps(prediction == 'flow_prediction')} beside prediction_type {json.dumps(prediction)}"
        raise ValueError(unexpected(path, "use_flow_sigmas", flow, expected))
    if prediction == "epsilon" and config.get("rescale_betas_zero_snr"):
        expected = (
            "false, or a network that predicts v: where there is nothing but noise, epsilon says nothing of the picture"
        )
        raise ValueError(unexpected(path, "rescale_betas_zero_snr", True, expected))
    return "raw" if flow else "diffusion"


def unexpected(path: Path, name: str, value: Any, expected: str) -> str:
    """What is said of a file's field that has another value than it may have."""
    return f"{path}: {name} is {json.dumps(value)}; expected {expected}"
