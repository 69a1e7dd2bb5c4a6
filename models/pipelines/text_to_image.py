"""A text-to-image model in diffusers' format, as teacher (diffusion) or as rectified flow, seen as a velocity field."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from models.condition import Condition
from models.solvers import DIFFUSION_SOLVERS, diffusion_ode, euler
from models.velocity import Network, Velocity, converted, guided, raw

Parameterization = Literal["diffusion", "raw", "converted"]
"""What the network's output means: a diffusion teacher's epsilon / v, a velocity, or an epsilon read as a velocity."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TextToImage(ABC):
    """A loaded pipeline and what its network's output means. A family of pipelines is a subclass, in its own file."""

    pipeline_class: ClassVar[str]
    """The ``_class_name`` in the family's model_index.json."""

    def __init__(self, pipeline: Any, parameterization: Parameterization) -> None:
        self.pipeline, self.parameterization = pipeline, parameterization

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, dtype: str) -> "TextToImage":
        """Load a folder (``save_pretrained``) on the GPU if there is one, in evaluation mode, its weights frozen.

        Raises FileNotFoundError naming a missing component, ValueError for components that do not fit together.
        """

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the pipeline for the family's stock ``from_pretrained``; a raw flow samples there as here."""

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The network that is called at each step: what a reflow and a distillation train."""

    @property
    @abstractmethod
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent, e.g. (4, 64, 64) for Stable Diffusion 1.5."""

    @abstractmethod
    def truncated(self, prompts: Sequence[str]) -> int:
        """How many of the prompts are longer than the tokenizer takes, so that :meth:`encode` cuts them."""

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """What the network is told of the prompts, by the frozen encoders."""

    @abstractmethod
    def forward(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the network at a float timestep [B]."""

    @abstractmethod
    def pixels(self, latent: Tensor) -> Tensor:
        """Decode latents to pictures [B, 3, H, W] in about -1..1, differentiably."""

    @property
    def decoder(self) -> str:
        """The class of what makes pictures of latents."""
        return type(self.pipeline.vae).__name__

    @property
    def pixels_per_side(self) -> int:
        """Side of the square pictures, e.g. 512 for Stable Diffusion 1.5."""
        return int(self.latent_shape[1] * self.pipeline.vae_scale_factor)

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return next(self.denoiser.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the denoiser."""
        return next(self.denoiser.parameters()).dtype

    def network(self, guidance: float = 1.0) -> Network:
        """The denoiser as a function of (x, float timestep, condition), guided."""
        return self.forward if guidance == 1 else guided(self.forward, self.encode([""]), guidance)

    def velocity(self, guidance: float = 1.0) -> Velocity:
        """The velocity field noise - latent, whatever the network predicts."""
        if self.parameterization == "raw":
            return raw(self.network(guidance))
        scheduler = self.pipeline.scheduler
        return converted(self.network(guidance), scheduler.alphas_cumprod, scheduler.config.prediction_type)

    def sample(self, noise: Tensor, prompts: Sequence[str], steps: int, guidance: float, solver: str) -> Tensor:
        """Latents [B, C, H, W] from noise by the model's own ODE; float32 on the CPU like the noise."""
        x, condition = noise.to(self.device, self.dtype), self.encode(prompts)
        if self.parameterization == "diffusion":
            config = dict(self.pipeline.scheduler.config)
            latent = diffusion_ode(self.network(guidance), config, x, condition, steps, solver)
        else:
            latent = euler(self.velocity(guidance), x, condition, steps)
        return latent.float().cpu()

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to uint8 pictures [B, 3, H, W] on the CPU."""
        pixels = self.pixels(latent.to(self.device, self.dtype)).float()
        return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).contiguous().cpu()

    def check_solver(self, solver: str) -> None:
        """Raise ValueError when this kind of model has no such solver."""
        known = list(DIFFUSION_SOLVERS) if self.parameterization == "diffusion" else ["euler"]
        if solver not in known:
            raise ValueError(
                f"solver {solver!r}: a {self.parameterization} model is solved with one of {', '.join(known)}"
            )
