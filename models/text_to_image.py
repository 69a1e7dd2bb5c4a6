"""A text-to-image model in diffusers' format, as teacher (diffusion) or as rectified flow, seen as a velocity field."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import StableDiffusionPipeline, UniPCMultistepScheduler
from diffusers.utils import logging as diffusers_logging
from torch import Tensor
from transformers.utils import logging as transformers_logging

from models.solvers import DIFFUSION_SOLVERS, diffusion_ode, euler
from models.velocity import TIMESTEPS, Network, Velocity, converted, guided, raw

Parameterization = Literal["diffusion", "raw", "converted"]
"""What the U-Net's output means: a diffusion teacher's epsilon / v, a velocity, or an epsilon read as a velocity."""

COMPONENTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
MARKER = "flow.json"
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class TextToImage:
    """A loaded pipeline and what its U-Net's output means."""

    pipeline: StableDiffusionPipeline
    parameterization: Parameterization

    @classmethod
    def load(cls, folder: Path, dtype: str = "fp32") -> "TextToImage":
        """Load a Stable Diffusion folder (``save_pretrained``) on the GPU if there is one, in evaluation mode.

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
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent, e.g. (4, 64, 64) for Stable Diffusion 1.5."""
        config = self.pipeline.unet.config
        return config.in_channels, config.sample_size, config.sample_size

    @property
    def pixels_per_side(self) -> int:
        """Side of the square pictures, e.g. 512 for Stable Diffusion 1.5."""
        return int(self.latent_shape[1] * self.pipeline.vae_scale_factor)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.pipeline.unet.device

    def truncated(self, prompts: Sequence[str]) -> int:
        """How many of the prompts are longer than the tokenizer takes, so that :meth:`encode` cuts them."""
        tokenizer = self.pipeline.tokenizer
        return sum(len(row) > tokenizer.model_max_length for row in tokenizer(list(prompts), verbose=False).input_ids)

    def encode(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [B, L, D] of the frozen text encoder."""
        tokenizer = self.pipeline.tokenizer
        ids = tokenizer(list(prompts), padding="max_length", truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return self.pipeline.text_encoder(ids.to(self.device))[0]

    def network(self, guidance: float = 1.0) -> Network:
        """The U-Net as a function of (x, float timestep, text), guided."""

        def forward(x: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
            x = x.contiguous(memory_format=torch.channels_last)
            return self.pipeline.unet(x, timestep, encoder_hidden_states=text).sample

        return forward if guidance == 1 else guided(forward, self.encode([""]), guidance)

    def velocity(self, guidance: float = 1.0) -> Velocity:
        """The velocity field noise - latent, whatever the U-Net predicts."""
        if self.parameterization == "raw":
            return raw(self.network(guidance))
        scheduler = self.pipeline.scheduler
        return converted(self.network(guidance), scheduler.alphas_cumprod, scheduler.config.prediction_type)

    def sample(self, noise: Tensor, prompts: Sequence[str], steps: int, guidance: float, solver: str) -> Tensor:
        """Latents [B, C, H, W] from noise by the model's own ODE; float32 on the CPU like the noise."""
        x, text = noise.to(self.device, self.pipeline.unet.dtype), self.encode(prompts)
        if self.parameterization == "diffusion":
            latent = diffusion_ode(self.network(guidance), dict(self.pipeline.scheduler.config), x, text, steps, solver)
        else:
            latent = euler(self.velocity(guidance), x, text, steps)
        return latent.float().cpu()

    def pixels(self, latent: Tensor) -> Tensor:
        """Decode latents to pictures [B, 3, H, W] in about -1..1, differentiably."""
        vae = self.pipeline.vae
        scaled = (latent / vae.config.scaling_factor).contiguous(memory_format=torch.channels_last)
        return vae.decode(scaled).sample

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to uint8 pictures [B, 3, H, W] on the CPU."""
        pixels = self.pixels(latent.to(self.device, self.pipeline.vae.dtype)).float()
        return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).contiguous().cpu()

    def check_solver(self, solver: str) -> None:
        """Raise ValueError when this kind of model has no such solver."""
        known = list(DIFFUSION_SOLVERS) if self.parameterization == "diffusion" else ["euler"]
        if solver not in known:
            raise ValueError(
                f"solver {solver!r}: a {self.parameterization} model is solved with one of {', '.join(known)}"
            )


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """``save_pretrained`` without the paths that the parts were loaded from: the same model is the same bytes."""
    for part in (pipeline, pipeline.unet, pipeline.vae):
        part.register_to_config(_name_or_path="")
    pipeline.save_pretrained(folder, safe_serialization=True)


def flow_scheduler() -> UniPCMultistepScheduler:
    """Euler on a straight flow, as a scheduler that the stock Stable Diffusion pipeline accepts.

    First-order UniPC without its corrector, since it alone starts at sigma = 1. Stock schedulers cut timesteps to
    integers, to which a network reacts visibly: 1001 of them make the first 1000 instead of 999, and the slight
    shift keeps rounding errors from making 500 a 499. So grids of 1, 2, 4, 5, 8, 10, 20, 25, 40 steps have our times.
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


def _quiet() -> None:
    """No bars for loading what takes a second."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


def _check_components(folder: Path) -> None:
    missing = [name for name in COMPONENTS if not (folder / name).is_dir()]
    if missing or not (folder / "model_index.json").is_file():
        names = ", ".join([*missing, *([] if (folder / "model_index.json").is_file() else ["model_index.json"])])
        raise FileNotFoundError(
            f"{folder}: not a Stable Diffusion folder, {names} missing; expected model_index.json and the folders "
            f"{', '.join(COMPONENTS)} as written by save_pretrained"
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
