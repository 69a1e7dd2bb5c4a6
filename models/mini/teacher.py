"""The miniature teacher: Stable Diffusion's components at 1/800 of the size, in diffusers' own classes."""

from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from models.mini.tokenizer import CONTEXT_LENGTH

TEXT_WIDTH = 64
KL_WEIGHT = 1e-5


def build_autoencoder() -> AutoencoderKL:
    """A KL autoencoder: RGB [3, 32, 32] in -1..1 <-> latent [4, 8, 8]."""
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=32,
    )


def build_unet() -> UNet2DConditionModel:
    """The denoiser: latent [4, 8, 8], text [24, 64]; attention at the low resolution, where it is cheap."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(32, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
    )


def build_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A three-layer CLIP text model: token ids [24] -> embedding [24, 64]."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        projection_dim=TEXT_WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def build_scheduler() -> DPMSolverMultistepScheduler:
    """Stable Diffusion's noise table (1,000 steps, alpha_bar to .00466) with the solver of the paper's pairs."""
    return DPMSolverMultistepScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        timestep_spacing="trailing",
        steps_offset=1,
    )


def assemble(
    autoencoder: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> StableDiffusionPipeline:
    """The parts as one stock pipeline, ready for ``save_pretrained``. No safety checker: it would blacken pictures."""
    return StableDiffusionPipeline(
        vae=autoencoder,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )


def autoencoder_loss(autoencoder: AutoencoderKL, images: Tensor, noise: Tensor) -> Tensor:
    """Absolute plus squared error plus a slight KL; noise [B, 4, 8, 8] picks the posterior sample.

    Images are [B, 3, 32, 32] in -1..1. The absolute error keeps edges crisp; the KL keeps latents smooth
    enough for a small denoiser.
    """
    posterior = autoencoder.encode(images).latent_dist
    decoded = autoencoder.decode(posterior.mean + posterior.std * noise).sample
    return (
        F.l1_loss(decoded, images) + F.mse_loss(decoded, images) + KL_WEIGHT * posterior.kl().mean() / noise[0].numel()
    )
