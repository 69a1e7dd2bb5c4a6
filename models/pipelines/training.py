"""A text-to-image model made ready for training: what its output is to mean, how many networks it is."""

from typing import Literal

from diffusers import UNet2DConditionModel

from models.losses import Diffusion, last_timestep
from models.pipelines.text_to_image import TextToImage
from models.solvers import DIFFUSION_SOLVERS, noise_table
from models.stacked_unet import StackedUNet
from models.velocity import Velocity


def trainable(model: TextToImage, parameterization: Literal["raw", "converted", "epsilon"]) -> TextToImage:
    """The model with a trainable network in fp32; a flow keeps what its output means, a teacher starts as told.

    With "epsilon" it stays a diffusion model. Raises ValueError when it is none.
    """
    if parameterization == "epsilon":
        _stay_diffusion(model)
    elif model.parameterization == "diffusion":
        model.parameterization = parameterization
    model.denoiser.float().requires_grad_(True)
    return model


def _stay_diffusion(model: TextToImage) -> None:
    if model.parameterization != "diffusion":
        raise ValueError(
            f'parameterization "epsilon": the model is a {model.parameterization} flow; expected a diffusion model,'
            " whose path and output can be kept"
        )
    # Stock samplers are to start where the training did: at the last timestep, with nothing but noise. What else the
    # config says stays, since stock pipelines complain of another `steps_offset` than 1.
    scheduler, options = DIFFUSION_SOLVERS["ddim"]
    config = dict(model.pipeline.scheduler.config)
    model.pipeline.scheduler = scheduler.from_config(config, timestep_spacing="trailing", **options)


def stack(model: TextToImage) -> None:
    """Put two of the model's U-Net in series in its place; it draws what it drew.

    Raises ValueError for another network than a single U-Net.
    """
    unet = model.denoiser
    if not isinstance(unet, UNet2DConditionModel) or isinstance(unet, StackedUNet):
        raise ValueError(f'architecture "stacked": the network is a {type(unet).__name__}; expected one U-Net')
    model.pipeline.unet = StackedUNet.of(unet)


def diffusion(model: TextToImage) -> Diffusion:
    """The network of a diffusion model with what its output means."""
    config = model.pipeline.scheduler.config
    return Diffusion(model.network(), noise_table(config), config.prediction_type)


def student_velocity(model: TextToImage) -> Velocity:
    """What a one-step student is trained by: its velocity, or the single step of a diffusion model."""
    return last_timestep(diffusion(model)) if model.parameterization == "diffusion" else model.velocity()
