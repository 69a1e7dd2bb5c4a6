"""A text-to-image model in diffusers' format, as teacher (diffusion) or as rectified flow, seen as a velocity field."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import ConfigMixin, DiffusionPipeline, SchedulerMixin
from diffusers.utils import logging as diffusers_logging
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from models.condition import Condition
from models.pipelines.flow_scheduler import flow_scheduler
from models.pipelines.folder import MARKER, Parameterization, check_folder, check_solver
from models.solvers import FLOW_SOLVERS, ZERO_SNR_SOLVERS, noise_table, sigma_grid, solve, solver_of
from models.velocity import Network, Velocity, converted, guided, raw

Sampler = Callable[[Tensor, Sequence[str]], Tensor]
"""sampler(noise [B, C, H, W], prompts of B samples) -> latents [B, C, H, W], float32 on the CPU."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TextToImage(ABC):
    """A loaded pipeline and what its network's output means. A family of pipelines is a subclass, in its own file.

    Low precision is for the networks alone: state, sigma, timestep, guidance and conversion are float32.
    """

    pipeline_type: ClassVar[type[DiffusionPipeline]]
    """The family's stock pipeline: its name is the ``_class_name`` in model_index.json."""

    left_out: ClassVar[tuple[str, ...]] = ()
    """Components of the stock pipeline that are neither loaded nor saved."""

    load_with: ClassVar[Mapping[str, Any]] = {}
    """What else ``from_pretrained`` is told."""

    def __init__(self, pipeline: Any, parameterization: Parameterization) -> None:
        self.pipeline, self.parameterization = pipeline, parameterization

    @classmethod
    def load(cls, folder: Path, dtype: str = "fp32") -> Self:
        """Load a folder (``save_pretrained``) on the GPU if there is one, in evaluation mode, its weights frozen.

        Raises FileNotFoundError naming a missing component, ValueError for components that do not fit together.
        """
        described = check_folder(folder)
        _quiet()
        pipeline = cls.pipeline_type.from_pretrained(
            folder,
            dtype=DTYPES[dtype],
            variant=described.variant,
            local_files_only=True,
            use_safetensors=True,
            **dict.fromkeys(cls.left_out),
            **cls.load_with,
            **dict.fromkeys(described.absent),
        )
        _require_every_weight(folder, pipeline, described.sizes)
        pipeline.to("cuda" if torch.cuda.is_available() else "cpu").set_progress_bar_config(disable=True)
        for part in _networks(pipeline):
            part.eval().requires_grad_(False)
        model = cls(pipeline, described.parameterization)
        # Convolutions run 1.5 x faster on this layout, on CPUs and on tensor cores alike.
        for part in (model.denoiser, pipeline.vae):
            part.to(memory_format=torch.channels_last)
        return model

    def save(self, folder: Path) -> None:
        """Write the pipeline for the family's stock ``from_pretrained``; a raw flow samples there as here.

        A ``converted`` flow keeps the teacher's scheduler and a marker file: stock samplers know no such field.
        """
        if self.parameterization == "raw":
            self.pipeline.scheduler = self.exported_scheduler()
        self.pipeline.to(torch.device("cpu"))
        for part in (self.denoiser, self.pipeline.vae):
            part.to(memory_format=torch.contiguous_format)
        save_pipeline(self.pipeline, folder)
        if self.parameterization == "converted":
            (folder / MARKER).write_text(json.dumps({"parameterization": "converted"}) + "\n")

    def exported_scheduler(self) -> SchedulerMixin:
        """The scheduler with which the stock pipeline samples a raw flow as :func:`models.solvers.euler` does."""
        return flow_scheduler()

    def from_paper(self) -> None:
        """Take the network for one of the paper's, whose velocity is latent - noise, and turn it into a flow of ours.

        Raises ValueError where that cannot be.
        """
        known = "the published flows of that convention are StableDiffusionPipelines"
        raise ValueError(f"the model is a {self.pipeline_type.__name__}; {known}")

    def sigmas(self, steps: int) -> list[float]:
        """The grid on which a flow is solved: steps + 1 values from 1 to 0."""
        return sigma_grid(steps)

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The network that is called at each step: what a reflow and a distillation train."""

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a latent, square, e.g. (4, 64, 64) for Stable Diffusion 1.5."""
        config: Any = self.denoiser.config
        side = config.sample_size if isinstance(config.sample_size, int) else config.sample_size[0]
        return config.in_channels, side, side

    def truncated(self, prompts: Sequence[str]) -> int:
        """How many of the prompts have more tokens than (the first of) the text encoders takes: they are cut."""
        tokenizer = self.pipeline.tokenizer
        return sum(len(row) > tokenizer.model_max_length for row in tokenizer(list(prompts), verbose=False).input_ids)

    @abstractmethod
    def encode(self, prompts: Sequence[str]) -> Condition:
        """What the network is told of the prompts, by the frozen encoders."""

    @abstractmethod
    def forward(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the network at a float32 timestep [B]; x and the result are of the network's format."""

    @abstractmethod
    def pixels(self, latent: Tensor) -> Tensor:
        """Decode latents of any format to pictures [B, 3, H, W] in about -1..1, differentiably."""

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

    def call(self, x: Tensor, timestep: Tensor, condition: Condition) -> Tensor:
        """One call of the network in its own format; what goes in and what comes out is float32."""
        return self.forward(x.to(self.dtype), timestep, condition).float()

    def network(self, guidance: float = 1.0) -> Network:
        """The denoiser as a function of (x, float timestep, condition), guided."""
        return self.call if guidance == 1 else guided(self.call, self.encode([""]), guidance)

    def velocity(self, guidance: float = 1.0) -> Velocity:
        """The velocity field noise - latent, whatever the network predicts."""
        if self.parameterization == "raw":
            return raw(self.network(guidance))
        config = self.pipeline.scheduler.config
        return converted(self.network(guidance), noise_table(config), config.prediction_type)

    def sample(self, noise: Tensor, prompts: Sequence[str], steps: int, guidance: float, solver: str) -> Tensor:
        """Latents [B, C, H, W] from noise by the model's own ODE; float32 on the CPU like the noise."""
        return self.sampler(steps, guidance, solver)(noise, prompts)

    def sampler(self, steps: int, guidance: float, solver: str) -> Sampler:
        """:meth:`sample`, again and again: the empty prompt and the solver's table are made once, as a server does."""
        ode = self._ode(steps, guidance, solver)
        return lambda noise, prompts: ode(noise.to(self.device), self.encode(prompts)).cpu()

    def _ode(self, steps: int, guidance: float, solver: str) -> Callable[[Tensor, Condition], Tensor]:
        if self.parameterization == "diffusion":
            network, scheduler = self.network(guidance), solver_of(self.pipeline.scheduler.config, solver)
            return lambda x, condition: solve(network, scheduler, x, condition, steps)
        velocity, sigmas, integrate = self.velocity(guidance), self.sigmas(steps), FLOW_SOLVERS[solver]
        return lambda x, condition: integrate(velocity, x, condition, sigmas)

    @torch.no_grad()
    def decode(self, latent: Tensor) -> Tensor:
        """Decode latents to uint8 pictures [B, 3, H, W] on the CPU."""
        pixels = self.pixels(latent.to(self.device)).float()
        return ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).contiguous().cpu()

    def check_solver(self, solver: str) -> None:
        """Raise ValueError when this kind of model has no such solver."""
        check_solver(self.parameterization, solver)
        config = self.pipeline.scheduler.config
        zero_snr = self.parameterization == "diffusion" and config.get("rescale_betas_zero_snr")
        if zero_snr and solver not in ZERO_SNR_SOLVERS:
            known = ", ".join(ZERO_SNR_SOLVERS)
            raise ValueError(f"solver {solver!r}: a model with zero terminal SNR is solved with one of {known}")


def save_pipeline(pipeline: DiffusionPipeline, folder: Path) -> None:
    """``save_pretrained`` without the paths that the parts were loaded from: the same model is the same bytes."""
    for part in (pipeline, *_networks(pipeline)):
        if isinstance(part, ConfigMixin):  # transformers write no path
            part.register_to_config(_name_or_path="")
    pipeline.save_pretrained(folder, safe_serialization=True)


def _require_every_weight(folder: Path, pipeline: DiffusionPipeline, sizes: Mapping[str, int]) -> None:
    """What a file lacks, the libraries make up: random numbers and a warning."""
    for name, there in sizes.items():
        needed = sum(one.numel() for one in pipeline.components[name].parameters())
        if there < needed:
            raise ValueError(
                f"{folder / name}: its weights are {there} numbers, the network of its config.json has {needed}; "
                "expected weights and config of the same model. Copy or download both again"
            )


def _networks(pipeline: DiffusionPipeline) -> list[nn.Module]:
    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


def _quiet() -> None:
    """No bars for loading what takes a second."""
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
