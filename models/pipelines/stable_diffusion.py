"""Stable Diffusion 1.x and 2.x: a U-Net told by one CLIP text encoder, latents of a KL autoencoder."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from models.condition import Condition
from models.pipelines.text_to_image import TextToImage


class StableDiffusion(TextToImage):
    """A ``StableDiffusionPipeline``; the condition is the text encoder's token embeddings [B, L, D].

    The safety checker is left out: it would put black pictures into the evaluation.
    """

    pipeline_type = StableDiffusionPipeline
    left_out = ("safety_checker", "feature_extractor", "image_encoder")
    load_with: ClassVar[Mapping[str, Any]] = {"requires_safety_checker": False}
    pipeline: StableDiffusionPipeline

    @torch.no_grad()
    def from_paper(self) -> None:
        """Turn the sign of the U-Net's last layer: velocity noise - latent at timestep 1000 sigma, to the last bit.

        Raises ValueError for a folder that is marked as a flow of ours.
        """
        if self.parameterization != "diffusion":
            expected = "the published weights with the scheduler of Stable Diffusion beside them"
            raise ValueError(f"the folder says that it is a {self.parameterization} flow of ours; expected {expected}")
        for parameter in self.pipeline.unet.conv_out.parameters():
            parameter.neg_()
        self.parameterization = "raw"

    @property
    def denoiser(self) -> nn.Module:
        """The U-Net."""
        return self.pipeline.unet

    def encode(self, prompts: Sequence[str]) -> Condition:
        """The text encoder's last hidden states."""
        tokenizer = self.pipeline.tokenizer
        ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return Condition(self.pipeline.text_encoder(ids.to(self.device))[0])

    def forward(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the U-Net."""
        x = x.contiguous(memory_format=torch.channels_last)
        return self.pipeline.unet(x, timestep, encoder_hidden_states=condition.text).sample

    def pixels(self, latent: Tensor) -> Tensor:
        """What the autoencoder's decoder makes of latents."""
        vae = self.pipeline.vae
        scaled = (latent.to(vae.dtype) / vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        return vae.decode(scaled).sample
