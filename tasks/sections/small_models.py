"""Models that are trained from scratch on captioned pictures: a teacher, a CLIP with its attribute reader."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from infra.recipe import Count, Fraction, Rate
from tasks.sections.training import Trained, dropout, ema, require_warmed_up, warmup


class TrainTeacher(Trained):
    """Training of a small teacher: first the autoencoder, then the denoiser."""

    autoencoder_steps: Count = Field(default=6000, description="training steps of the autoencoder")
    autoencoder_learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the autoencoder, per step")
    autoencoder_batch_size: Count = Field(default=64, description="pictures per step of the autoencoder")
    steps: Count = Field(default=20000, description="training steps of the denoiser")
    learning_rate: Rate = Field(default=5e-4, description="peak learning rate of the denoiser, per step")
    batch_size: Count = Field(default=128, description="pictures per step of the denoiser")
    text_dropout: Fraction = dropout()
    ema_decay: Fraction = ema()
    warmup_steps: int = warmup(500)

    @model_validator(mode="after")
    def _warms_up(self) -> TrainTeacher:
        require_warmed_up(self.warmup_steps, {"autoencoder_steps": self.autoencoder_steps, "steps": self.steps})
        return self


class TrainClip(Trained):
    """Training of a small CLIP and of the attribute reader beside it."""

    vision: Literal["vit", "resnet"] = Field(default="vit", description="what looks at the pictures")
    steps: Count = Field(default=4000, description="training steps of the CLIP")
    batch_size: Count = Field(default=256, description="pictures per step of the CLIP")
    learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the CLIP, per step")
    reader_steps: int = Field(default=2000, ge=0, description="training steps of the attribute reader; 0 makes none")
    reader_batch_size: Count = Field(default=256, description="pictures per step of the attribute reader")
    reader_learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the attribute reader, per step")
