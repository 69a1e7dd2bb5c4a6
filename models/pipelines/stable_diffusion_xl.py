"""Stable Diffusion XL: a U-Net told by two CLIP text encoders, one embedding of the prompt and a picture's size."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import StableDiffusionXLPipeline
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from models.condition import Condition
from models.pipelines.text_to_image import TextToImage


class StableDiffusionXL(TextToImage):
    """A ``StableDiffusionXLPipeline``.

    The condition is both encoders' last but one hidden states side by side [B, L, D1 + D2], the second one's embedding
    of the whole prompt [B, P], and the numbers that stand for a whole picture of the model's own size [B, 6].
    """

    pipeline_type = StableDiffusionXLPipeline
    load_with: ClassVar[Mapping[str, Any]] = {
        "feature_extractor": None,
        "image_encoder": None,
        "add_watermarker": False,
    }
    pipeline: StableDiffusionXLPipeline

    @classmethod
    def load(cls, folder: Path, dtype: str = "fp32") -> Self:
        """As every family; the autoencoder stays float32 beside an fp16 U-Net where it says that it would overflow."""
        model = super().load(folder, dtype)
        vae = model.pipeline.vae
        if vae.dtype == torch.float16 and vae.config.force_upcast:
            vae.float()
        return model

    @property
    def denoiser(self) -> nn.Module:
        """The U-Net."""
        return self.pipeline.unet

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """What the stock pipeline tells its U-Net of the prompts.

        Where the pipeline says ``force_zeros_for_empty_prompt``, an empty prompt is zeros: the model was trained with
        them, and the stock pipeline guides away from them.
        """
        pipeline = self.pipeline
        first, _ = clip_embeddings(pipeline.tokenizer, pipeline.text_encoder, prompts)
        second, pooled = clip_embeddings(pipeline.tokenizer_2, pipeline.text_encoder_2, prompts)
        text = torch.cat([first, second], dim=-1)
        if pipeline.config.force_zeros_for_empty_prompt:
            empty = torch.tensor([not prompt for prompt in prompts], device=text.device)
            text, pooled = text.masked_fill(empty[:, None, None], 0), pooled.masked_fill(empty[:, None], 0)
        side = self.pixels_per_side  # height and width before the cut, its top and left corner, height and width
        size = torch.tensor([[side, side, 0, 0, side, side]], dtype=torch.float32, device=text.device)
        return Condition(text, pooled, size.expand(len(text), -1))

    def forward(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the U-Net."""
        x = x.contiguous(memory_format=torch.channels_last)
        told = {"text_embeds": condition.pooled, "time_ids": condition.size}
        return self.pipeline.unet(x, timestep, encoder_hidden_states=condition.text, added_cond_kwargs=told).sample

    def pixels(self, latent: Tensor) -> Tensor:
        """What the autoencoder's decoder makes of latents."""
        vae = self.pipeline.vae
        scaled = latent.to(vae.dtype) / vae.config.scaling_factor
        return vae.decode(scaled.contiguous(memory_format=torch.channels_last)).sample


def clip_embeddings(tokenizer: CLIPTokenizer, encoder: CLIPTextModel, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """A CLIP text encoder's last but one hidden states [B, L, D], and its first output: with a projection, [B, P]."""
    ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    told = encoder(ids.to(encoder.device), output_hidden_states=True)
    return told.hidden_states[-2], told[0]
