"""Of a folder's scheduler the noise table and the prediction are taken; what would make another ODE is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import diffusers
import pytest

from models.pipelines.flow_scheduler import flow_scheduler
from models.pipelines.scheduler_config import DIFFUSION_CLASSES, FLOW_CLASSES, check_scheduler

PATH = Path("scheduler/scheduler_config.json")
PNDM: dict[str, Any] = {
    "_class_name": "PNDMScheduler", "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085,
    "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None, "clip_sample": False,
}  # fmt: skip


def test_the_scheduler_of_stable_diffusion_1_5_is_a_diffusion_models() -> None:
    assert check_scheduler(PATH, PNDM) == "diffusion"


@pytest.mark.parametrize("name", DIFFUSION_CLASSES)
def test_each_class_over_a_table_is_known_with_its_own_defaults(name: str) -> None:
    config = dict(getattr(diffusers, name)().config) | {"_class_name": name, "clip_sample": False}
    assert check_scheduler(PATH, config) == "diffusion"
    assert check_scheduler(PATH, config | {"prediction_type": "v_prediction"}) == "diffusion"


def test_flows_are_known_by_class_or_by_prediction() -> None:
    for name in FLOW_CLASSES:
        assert check_scheduler(PATH, dict(getattr(diffusers, name)().config) | {"_class_name": name}) == "raw"
    ours = dict(flow_scheduler().config) | {"_class_name": "UniPCMultistepScheduler"}
    assert check_scheduler(PATH, ours) == "raw"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"prediction_type": "sample"}, 'prediction_type is "sample"; expected epsilon, v_prediction or flow_predi'),
        ({"prediction_type": "flow_prediction"}, 'use_flow_sigmas is false; expected true beside prediction_type "fl'),
        ({"use_flow_sigmas": True}, 'use_flow_sigmas is true; expected false beside prediction_type "epsilon"'),
        ({"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr is true; expected false, or a network that"),
        ({"thresholding": True}, "thresholding is true; expected false"),
        ({"clip_sample": True}, "clip_sample is true; expected false"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas is true; expected false"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas is true; expected false"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas is true; expected false"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas is true; expected false"),
        ({"beta_schedule": "exp"}, 'beta_schedule is "exp"; expected linear, scaled_linear or squaredcos_cap_v2'),
        ({"timestep_type": "continuous"}, 'timestep_type is "continuous"; expected "discrete"'),
        ({"lambda_min_clipped": -5.1}, "lambda_min_clipped is -5.1; expected -Infinity"),
        ({"_class_name": "LCMScheduler"}, '_class_name is "LCMScheduler"; expected one of DDIMScheduler'),
        ({"_class_name": "EDMEulerScheduler"}, '_class_name is "EDMEulerScheduler"; expected one of'),
        ({"_class_name": None}, "_class_name is null; expected one of"),
        ({"_class_name": FLOW_CLASSES[0], "stochastic_sampling": True}, "stochastic_sampling is true; expected false"),
    ],
)
def test_what_would_make_another_ode_is_refused_by_its_name(changed: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_scheduler(PATH, PNDM | changed)
    assert str(caught.value).startswith(f"{PATH}: {told}")


def test_zero_terminal_snr_is_well_posed_for_v() -> None:
    changed = {"rescale_betas_zero_snr": True, "prediction_type": "v_prediction", "lambda_min_clipped": -math.inf}
    assert check_scheduler(PATH, PNDM | changed) == "diffusion"
