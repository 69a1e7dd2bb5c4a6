"""Stable Diffusion 1.x: a U-Net told by one CLIP text encoder, latents of a KL autoencoder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from models.condition import Condition
from models.pipelines.flow_scheduler import flow_scheduler
from models.pipelines.text_to_image import DTYPES, Parameterization, TextToImage

COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
MARKER = "flow.json"


class StableDiffusion(TextToImage):
    """A ``StableDiffusionPipeline``; the condition is the text encoder's token embeddings [B, L, D]."""

    pipeline_class = "StableDiffusionPipeline"
    pipeline: StableDiffusionPipeline

    @classmethod
    def load(cls, folder: Path, dtype: str = "fp32") -> "StableDiffusion":
        """Load a Stable Diffusion folder on the GPU if there is one, in evaluation mode, its weights frozen.

        Raises FileNotFoundError naming a missing component, ValueError when latents of VAE and U-Net do not fit.
        """
        _check_components(folder)
        _quiet()
        pipeline = StableDiffusionPipeline.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            safety_checker=None,
            requires_safety_checker=False,
            local_files_only=True,
            use_safetensors=True,
        )
        pipeline.to("cuda" if torch.cuda.is_available() else "cpu").set_progress_bar_config(disable=True)
        # Convolutions run 1.5 x faster on this layout, on CPUs and on tensor cores alike.
        pipeline.unet.to(memory_format=torch.channels_last)
        pipeline.vae.to(memory_format=torch.channels_last)
        for part in (pipeline.unet, pipeline.vae, pipeline.text_encoder):
            part.eval().requires_grad_(False)
        return cls(pipeline, _parameterization(folder, pipeline))

    def save(self, folder: Path) -> None:
        """Write the pipeline for stock ``StableDiffusionPipeline.from_pretrained``; a raw flow samples there as here.

        A ``converted`` flow keeps the teacher's scheduler and a marker file: stock samplers know no such field.
        """
        if self.parameterization == "raw":
            self.pipeline.scheduler = flow_scheduler()
        self.pipeline.to(torch.device("cpu"))
        for part in (self.pipeline.unet, self.pipeline.vae):
            part.to(memory_format=torch.contiguous_format)
        save_pipeline(self.pipeline, folder)
        if self.parameterization == "converted":
            (folder / MARKER).write_text(json.dumps({"parameterization": "converted"}) + "\n")

    @property
    def denoiser(self) -> nn.Module:
        """The U-Net."""
        return self.pipeline.unet

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width), square."""
        config = self.pipeline.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    def truncated(self, prompts: Sequence[str]) -> int:
        """How many of the prompts have more tokens than CLIP's text encoder takes."""
        tokenizer = self.pipeline.tokenizer
        return sum(len(row) > tokenizer.model_max_length for row in tokenizer(list(prompts), verbose=False).input_ids)

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
        scaled = (latent / vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        return vae.decode(scaled).sample


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """``save_pretrained`` without the paths that the parts were loaded from: the same model is the same bytes."""
    for part in (pipeline, pipeline.unet, pipeline.vae):
        part.register_to_config(_name_or_path="")
    pipeline.save_pretrained(folder, safe_serialization=True)


def _quiet() -> None:
    """No bars for loading what takes a second."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _check_components(folder: Path) -> None:
    missing = [name for name in COMPONENTS if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{folder}: not a Stable Diffusion folder, {', '.join(missing)} missing; expected model_index.json and the"
            f" folders {', '.join(COMPONENTS)} as written by save_pretrained"
        )
    unet, vae = (json.loads((folder / name / "config.json").read_text()) for name in ("unet", "vae"))
    if unet["in_channels"] != vae["latent_channels"]:
        raise ValueError(
            f"{folder}: the U-Net takes latents of {unet['in_channels']} channels (unet/config.json: in_channels), "
            f"the autoencoder makes {vae['latent_channels']} (vae/config.json: latent_channels); they must be equal"
        )


def _parameterization(folder: Path, pipeline: Any) -> Parameterization:
    if (folder / MARKER).is_file():
        return "converted"
    return "raw" if pipeline.scheduler.config.get("use_flow_sigmas") else "diffusion"
