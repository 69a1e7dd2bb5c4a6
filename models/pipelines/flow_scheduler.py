"""The scheduler that a rectified flow is exported with."""

from diffusers import UniPCMultistepScheduler

from models.velocity import TIMESTEPS


def flow_scheduler() -> UniPCMultistepScheduler:
    """Euler on a straight flow, as a scheduler that the stock Stable Diffusion pipeline accepts.

    First-order UniPC without its corrector, since it alone starts at sigma = 1. Stock schedulers cut timesteps to
    integers, to which a network reacts visibly: 1001 of them make the first 1000 instead of 999, and the slight
    shift keeps rounding errors from making 500 a 501. The cut rounds up what :func:`models.solvers.sigma_grid` rounds
    up, so that the times are the same at every number of steps.
    """
    return UniPCMultistepScheduler(
        use_flow_sigmas=True,
        prediction_type="flow_prediction",
        solver_order=1,
        disable_corrector=list(range(TIMESTEPS)),
        num_train_timesteps=TIMESTEPS + 1,
        flow_shift=1 - 1e-6,
        final_sigmas_type="zero",
        steps_offset=1,
    )
