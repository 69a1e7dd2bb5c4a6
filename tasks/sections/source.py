"""Models that were made elsewhere: where they are from and what they predict."""

from __future__ import annotations

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Section, as_before

Dtype = Literal["fp32", "bf16", "fp16"]


class ModelSource(Section):
    """The model that is measured."""

    path: str = Field(
        default="mini",
        min_length=1,
        description='"mini" for the embedded one, else a diffusers folder, the full address of an artifact, or with'
        " `revision` the id of a repository of the Hugging Face hub",
        json_schema_extra=ASIDE,
    )
    revision: str | None = Field(
        default=None,
        pattern=r"^[\w./-]+$",
        description="commit, tag or branch of the hub's repository that `path` is then the id of",
        json_schema_extra=ASIDE,
    )
    download: bool = Field(
        default=False,
        description="whether the repository may be downloaded; otherwise it has to be in the hub's cache",
        json_schema_extra=ASIDE,
    )
    convention: Literal["diffusers", "paper"] = Field(
        default="diffusers",
        description="diffusers: the folder says what its network predicts; paper: the published 2-RF and InstaFlow"
        " weights, whose network predicts latent - noise though their folder says epsilon",
        json_schema_extra=as_before("diffusers"),
    )

    @model_validator(mode="after")
    def _is_of_the_hub(self) -> Self:
        if self.revision is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", self.path):
            raise ValueError(f"`revision` is of a repository of the hub: expected an id as `path`, not {self.path!r}")
        if self.download and self.revision is None:
            raise ValueError("`download` has no effect without `revision`: say which revision of the repository it is")
        return self

    @property
    def address(self) -> str:
        """Where it is from, in one word."""
        if self.revision is None:
            return self.path
        return f"hub://{self.path}@{self.revision}" + ("?download" if self.download else "")


class TeacherSource(ModelSource):
    """The diffusion model to start from."""

    dtype: Dtype = Field(default="fp32", description="number format the teacher runs in")


class Adopt(Section):
    """Turn a published flow of the paper's convention into one of ours."""
