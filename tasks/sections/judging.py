"""What pictures are judged with, and which real ones they are compared with."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from infra.recipe import ASIDE, Count, Section, as_before
from tasks.sections.captioned import Coco


class Clip(Section):
    """The CLIP that scores how well a picture fits its prompt."""

    architecture: str = Field(
        default="mini", min_length=1, description='"mini" for the embedded one, else an open_clip name'
    )
    weights: str | None = Field(default=None, description="file of its weights", json_schema_extra=ASIDE)
    tag: str | None = Field(
        default=None,
        description="which published weights the file holds, as open_clip calls them: how they want their pictures; "
        "null where all those of the architecture agree",
        json_schema_extra=as_before(None),
    )
    prompt_prefix: str = Field(default="", description="put before every prompt")

    @model_validator(mode="after")
    def _has_published_weights(self) -> Clip:
        if self.architecture == "mini" and self.tag is not None:
            raise ValueError(f'tag "{self.tag}" beside architecture "mini": the embedded one has no published weights')
        return self


class Pictures(Section):
    """How real and generated pictures come to one size before they are judged: their centre square is resized."""

    size: Count | None = Field(default=None, description="pixels per side; null: those of the first model's pictures")
    filter: Literal["lanczos", "bicubic", "bilinear"] = Field(default="lanczos", description="Pillow's filter")
    antialias: bool = Field(
        default=True, description="whether the filter widens when it shrinks a picture; without, pixels are left out"
    )

    @model_validator(mode="after")
    def _is_a_filter(self) -> Pictures:
        if self.filter == "lanczos" and not self.antialias:
            raise ValueError('filter "lanczos" needs `antialias: true`; without it take bicubic or bilinear')
        return self


Extra = Literal["kid", "precision_recall", "dinov2", "cmmd"]

OWN_NETWORKS: frozenset[Extra] = frozenset({"dinov2", "cmmd"})
"""Extras that look at pictures with a network of their own; the others take the features of the Frechet distance."""

NEIGHBOURS = 3
"""Of precision and recall."""


class Judging(Section):
    """What pictures are judged with, and which of the real ones there are."""

    num_images: int = Field(default=1000, ge=2, description="captions, and so pictures, per model and number of steps")
    shard_size: Count = Field(default=2500, description="pictures per shard of statistics, the unit of resume")
    features: Literal["mini", "inception"] = Field(
        default="mini", description="features of the Frechet distance: the small CLIP's or Inception's"
    )
    inception_weights: str | None = Field(
        default=None, description="file of the Inception weights", json_schema_extra=ASIDE
    )
    inception_resize: Literal["tensorflow", "clean"] = Field(
        default="tensorflow",
        description="how pictures come to Inception's 299 pixels; tensorflow: bilinear, not antialiased, as in "
        "torch-fidelity and the papers; clean: bicubic, antialiased, as in clean-fid",
        json_schema_extra=as_before("tensorflow"),
    )
    clip: Clip = Field(default=Clip(), description="the CLIP of the CLIP score")
    pictures: Pictures = Field(
        default=Pictures(), description=Pictures.__doc__, json_schema_extra=as_before(Pictures().identity())
    )
    reference: Literal["other_captions", "none"] = Field(
        default="other_captions",
        description="whom the teacher's pictures are compared with: other_captions takes as many captions again, for"
        " pictures of the teacher and real ones that no model is sampled for; none leaves those distances and the"
        " floors out, where there are not enough captions",
    )
    real: Literal["captions", "split"] = Field(
        default="captions",
        description="the real pictures: captions: those of the evaluated captions; split: all of the caption file, as"
        " published for COCO 2014",
        json_schema_extra=as_before("captions"),
    )
    extras: tuple[Extra, ...] = Field(
        default=(),
        strict=False,
        description="further distances to the real pictures: kid and precision_recall by the features of the Frechet"
        " distance, dinov2 (FD-DINOv2) and cmmd by networks of their own",
        json_schema_extra=as_before([]),
    )
    dinov2_weights: str | None = Field(
        default=None, description="folder of transformers' Dinov2Model, for the extra dinov2", json_schema_extra=ASIDE
    )
    cmmd_clip: Clip | None = Field(
        default=None,
        description="the CLIP of the extra cmmd; published with ViT-L-14-336-quickgelu, tag openai",
        json_schema_extra=as_before(None),
    )

    @model_validator(mode="after")
    def _can_read(self) -> Self:
        if self.features == "inception" and self.inception_weights is None:
            raise ValueError('features "inception" needs `inception_weights`, the file of its weights')
        if self.features != "inception" and self.inception_resize != "tensorflow":
            raise ValueError(f'inception_resize "{self.inception_resize}" has no effect on features "{self.features}"')
        for name, clip in (("clip", self.clip), ("cmmd_clip", self.cmmd_clip)):
            if clip and clip.architecture != "mini" and clip.weights is None:
                raise ValueError(f'{name}.architecture "{clip.architecture}" needs `{name}.weights`, a file')
        return self

    @model_validator(mode="after")
    def _extras_have_what_they_need(self) -> Self:
        if len({*self.extras}) < len(self.extras):
            raise ValueError(f"extras: {', '.join(self.extras)}: expected each once")
        for extra, name in (("dinov2", "dinov2_weights"), ("cmmd", "cmmd_clip")):
            if (extra in self.extras) != (getattr(self, name) is not None):
                raise ValueError(f'extras "{extra}" and `{name}`, its network, need each other: give both or neither')
        if self.cmmd_clip and self.cmmd_clip.prompt_prefix:
            raise ValueError("cmmd_clip.prompt_prefix has no effect: CMMD looks at pictures alone")
        if "precision_recall" in self.extras and self.num_images <= NEIGHBOURS:
            raise ValueError(
                f'extras "precision_recall" takes {NEIGHBOURS} neighbours of each picture: expected num_images above'
                f" {NEIGHBOURS}, found {self.num_images}"
            )
        return self

    @property
    def needs_mini_clip(self) -> bool:
        """Whether the small judge is one of them."""
        clips = [self.clip, *([self.cmmd_clip] if self.cmmd_clip else [])]
        return self.features == "mini" or any(clip.architecture == "mini" for clip in clips)


class RealJob(Judging):
    """Look at the real pictures of `coco` and at the captions, once for all evaluations by the same judges."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")

    @classmethod
    def of(cls, judging: Judging, coco: Coco) -> RealJob:
        """The job of a recipe's sections; which numbers are made of the features is no matter here."""
        shared = {name: getattr(judging, name) for name in Judging.model_fields}
        extras = tuple(sorted(OWN_NETWORKS & {*judging.extras}))
        return cls(**{**shared, "extras": extras}, coco=coco.within())
