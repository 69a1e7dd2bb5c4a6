"""Stable Diffusion 3: a transformer trained by flow matching, told by two CLIP text encoders and perhaps T5."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusion3Pipeline
from torch import Tensor, nn
from torch.nn import functional as F

from models.condition import Condition
from models.pipelines.stable_diffusion_xl import clip_embeddings
from models.pipelines.text_to_image import TextToImage
from models.solvers import sigma_grid

T5_TOKENS = 256
"""How much T5 is told of a prompt, by the stock pipeline unless it is asked for more."""


class StableDiffusion3(TextToImage):
    """A ``StableDiffusion3Pipeline``: teacher, rectified flow and student alike are flows, their output the velocity.

    The condition is the hidden states of both CLIP encoders side by side, followed by T5's (zeros where there is none),
    [B, L, D], and both CLIP embeddings of the whole prompt [B, P].
    """

    pipeline_type = StableDiffusion3Pipeline
    load_with: ClassVar[Mapping[str, Any]] = {"feature_extractor": None, "image_encoder": None}
    pipeline: StableDiffusion3Pipeline

    def exported_scheduler(self) -> FlowMatchEulerDiscreteScheduler:
        """The scheduler of the family, for equal steps.

        Stock code samples one step as it is done here. Several steps it spaces to end at sigma = .001, which wastes the
        last one (two are 1, .001, 0): for ours it is called with ``sigmas=np.linspace(1, 1 / N, N)``.
        """
        return FlowMatchEulerDiscreteScheduler(shift=1.0)

    def sigmas(self, steps: int) -> list[float]:
        """The scheduler's own grid where it is shifted, as a teacher's is, and equal steps where it is not."""
        shift = self.pipeline.scheduler.config.shift
        if shift == 1:
            return sigma_grid(steps)
        scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        scheduler.set_timesteps(steps)
        sigmas: list[float] = scheduler.sigmas.tolist()
        return sigmas

    @property
    def denoiser(self) -> nn.Module:
        """The transformer."""
        return self.pipeline.transformer

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> Condition:
        """What the stock pipeline tells its transformer of the prompts."""
        pipeline = self.pipeline
        first, pooled = clip_embeddings(pipeline.tokenizer, pipeline.text_encoder, prompts)
        second, pooled_2 = clip_embeddings(pipeline.tokenizer_2, pipeline.text_encoder_2, prompts)
        clip, t5 = torch.cat([first, second], dim=-1), self._t5(prompts)
        text = torch.cat([F.pad(clip, (0, t5.shape[-1] - clip.shape[-1])), t5], dim=1)
        return Condition(text, torch.cat([pooled, pooled_2], dim=-1))

    def _t5(self, prompts: Sequence[str]) -> Tensor:
        """T5's hidden states [B, 256, D]."""
        encoder, tokenizer = self.pipeline.text_encoder_3, self.pipeline.tokenizer_3
        if encoder is None:
            width = self.pipeline.transformer.config.joint_attention_dim
            return torch.zeros(len(prompts), T5_TOKENS, width, device=self.device, dtype=self.dtype)
        told = tokenizer(
            list(prompts), padding="max_length", max_length=T5_TOKENS, truncation=True, return_tensors="pt"
        )
        states: Tensor = encoder(told.input_ids.to(self.device))[0]
        return states

    def forward(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the transformer."""
        return self.pipeline.transformer(x, condition.text, condition.pooled, timestep).sample

    def pixels(self, latent: Tensor) -> Tensor:
        """What the autoencoder's decoder makes of latents."""
        vae = self.pipeline.vae
        scaled = latent.to(vae.dtype) / vae.config.scaling_factor + (vae.config.shift_factor or 0)
        return vae.decode(scaled.contiguous(memory_format=torch.channels_last)).sample
