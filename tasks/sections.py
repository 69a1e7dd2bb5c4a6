"""The vocabulary of recipes: what can be said of each stage, as frozen documented models.

A recipe (flows/algorithms) is made of these sections. A *job* is what a stage is told: its section, plus the fields of
other sections that shape its output, so that they enter its fingerprint and the form that Prefect shows. Where things
lie is left out: inputs are passed by digest. `performance` and `placement` say how fast and where, never what.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from infra.recipe import ASIDE, FILES, Count, Counts, Fraction, Rate, Section, Seed, as_before
from tasks.claims import Claim, StepwiseClaim
from tasks.roles import STANDARD, Role

Guidance = Annotated[float, Field(ge=0)]
Dtype = Literal["fp32", "bf16", "fp16"]
Precision = Literal["fp32", "bf16"]
Decay = Literal["constant", "cosine"]
Solver = Literal["dpmsolver++", "dpmsolver++1", "dpmsolver++3", "unipc", "ddim", "euler", "heun"]
"""dpmsolver++ and unipc are of order 2."""
Part = Literal["reflow", "distill"]

UNSHIFTED: dict[str, JsonValue] = {"shifted": False}
"""json_schema_extra of a seed that the recipe's own seed is not added to."""

_DROPOUT = "fraction of samples trained with the empty prompt"


class Performance(Section):
    """How fast: never part of a fingerprint."""

    sample_batch_size: Count = Field(default=128, description="samples per solver batch")
    micro_batch_size: Count | None = Field(
        default=None,
        description="pairs that go through the network at once in training; a step adds up the gradients of its batch."
        " null: the whole batch",
    )
    throughput_batch_sizes: Counts = Field(
        default=(1, 8, 32, 128), description="batch sizes at which samples per second are measured"
    )
    tflops: Rate | None = Field(
        default=None,
        description="what one device sustains, in TFLOP per second: `plan` then prices in device-days; null: not known",
    )


class Placement(Section):
    """Where: never part of a fingerprint. Not used yet: `instaflow run` does every stage in its own process."""

    pool: str | None = Field(default=None, description="Prefect work pool of the heavy stages; not used yet")
    workers: Count = Field(default=1, description="runs that share the units of a stage; not used yet")


class Recipe(Section):
    """What every recipe says, whatever its algorithm."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the recipe's runs in the store")
    algorithm: str = Field(default="instaflow", description="what is done with the sections")
    seed: Seed = Field(default=0, description="added to every section's seed but the world's")
    performance: Performance = Field(default=Performance(), description=Performance.__doc__)
    placement: Placement = Field(default=Placement(), description=Placement.__doc__)

    def seeded(self) -> Self:
        """The recipe with `seed` added to every section's seed but the world's, and itself 0."""
        sections = {name: getattr(self, name) for name in type(self).model_fields}
        shifted = {
            name: section.model_copy(update={"seed": section.model_dump()["seed"] + self.seed})
            for name, section in sections.items()
            if isinstance(section, Section) and _is_shifted(type(section))
        }
        return self.model_copy(update={**shifted, "seed": 0})


def _is_shifted(section: type[Section]) -> bool:
    field = section.model_fields.get("seed")
    return field is not None and field.json_schema_extra != UNSHIFTED


class World(Section):
    """The miniature world: captioned scenes of 32x32 pixels."""

    train_images: int = Field(default=0, ge=0, description="pictures of the training split; 0 makes none")
    val_images: Count = Field(default=2000, description="pictures of the validation split")
    captions_per_image: Count = Field(default=5, description="captions beside each picture")
    seed: Seed = Field(default=1, description="seed of scenes and captions", json_schema_extra=UNSHIFTED)


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


def _every_steps(default: int) -> Any:
    text = "training steps between two checkpoints"
    return Field(default=default, description=text, json_schema_extra=ASIDE)


class Trained(Section):
    """What every training is told."""

    seed: Seed = Field(default=0, description="seed of the stage's random numbers")
    checkpoint_every_steps: Count = _every_steps(1000)
    checkpoint_every_minutes: Rate = Field(
        default=30.0,
        description="minutes after which there is a checkpoint even if those steps are not done yet",
        json_schema_extra=ASIDE,
    )


def _warmup(default: int, when: str = "") -> Any:
    text = "steps over which the learning rate rises linearly to its value" + when
    return Field(default=default, ge=0, description=text)


def _ema() -> Any:
    text = "decay per step of the exponential moving average of the weights (kept in fp32); 0 is off"
    return Field(default=0.999, description=text)


def _require_warmed_up(warmup_steps: int, steps: Mapping[str, int]) -> None:
    """`steps` of each training by the field that says so."""
    for field, count in steps.items():
        if warmup_steps > count:
            raise ValueError(
                f"warmup_steps {warmup_steps} is longer than {field} {count}: the learning rate would never reach its"
                " value. Warm up for fewer steps or train for more"
            )


class TrainTeacher(Trained):
    """Training of a small teacher: first the autoencoder, then the denoiser."""

    autoencoder_steps: Count = Field(default=6000, description="training steps of the autoencoder")
    autoencoder_learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the autoencoder, per step")
    autoencoder_batch_size: Count = Field(default=64, description="pictures per step of the autoencoder")
    steps: Count = Field(default=20000, description="training steps of the denoiser")
    learning_rate: Rate = Field(default=5e-4, description="peak learning rate of the denoiser, per step")
    batch_size: Count = Field(default=128, description="pictures per step of the denoiser")
    text_dropout: Fraction = Field(default=0.1, description=_DROPOUT)
    ema_decay: Fraction = _ema()
    warmup_steps: int = _warmup(500)

    @model_validator(mode="after")
    def _warms_up(self) -> TrainTeacher:
        _require_warmed_up(self.warmup_steps, {"autoencoder_steps": self.autoencoder_steps, "steps": self.steps})
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


class Coco(Section):
    """Captioned pictures in the MS COCO layout: the evaluation's captions and references."""

    path: str | None = Field(
        default=None,
        description="folder of the data set; null takes the world stage's",
        json_schema_extra=ASIDE,
    )
    annotations: str = Field(
        default="annotations/captions_val2017.json", description="caption file, relative to the folder"
    )
    images: str = Field(default="val2017", description="folder of pictures, relative to the folder")

    def within(self) -> Coco:
        """The files within the data set, wherever that lies."""
        return self.model_copy(update={"path": None})


def _column(of: str, default: str) -> Any:
    return Field(default=default, min_length=1, description=f"column of {of}")


class PromptColumns(Section):
    """Where a Parquet or JSONL source keeps what is filtered by; the defaults are LAION's names."""

    similarity: str = _column("the similarity of text and picture", "similarity")
    aesthetic: str = _column("the aesthetic score", "AESTHETIC_SCORE")
    language: str = _column("the language", "LANGUAGE")
    width: str = _column("the picture's width, pixels", "WIDTH")
    height: str = _column("the picture's height, pixels", "HEIGHT")
    nsfw: str = _column("the NSFW tag", "NSFW")
    punsafe: str = _column("the probability that the picture is unsafe", "punsafe")


def _bound(text: str) -> Any:
    return Field(default=None, description=f"{text}; null lets all through")


class PromptFilters(Section):
    """Which rows of a Parquet or JSONL source are taken; one without the value is refused by its filter."""

    min_similarity: float | None = _bound("smallest similarity of text and picture (CLIP)")
    min_aesthetic: float | None = _bound("smallest aesthetic score")
    languages: tuple[str, ...] = Field(default=(), strict=False, description="the languages; none lets all through")
    min_width: Count | None = _bound("smallest width of the picture, pixels")
    min_height: Count | None = _bound("smallest height of the picture, pixels")
    nsfw: tuple[str, ...] = Field(
        default=(), strict=False, description="the NSFW tags, for instance [UNLIKELY]; none lets all through"
    )
    max_punsafe: float | None = _bound("largest probability that the picture is unsafe")

    def columns(self) -> tuple[str, ...]:
        """The fields of PromptColumns that the filters in use read."""
        used = {name.removeprefix("min_").removeprefix("max_"): getattr(self, name) for name in type(self).model_fields}
        used["language"] = used.pop("languages")
        return tuple(name for name in PromptColumns.model_fields if used[name] not in (None, ()))


class Prompts(Section):
    """Which prompts the two sets of pairs are made of."""

    source: Literal["mini", "coco", "text", "jsonl", "parquet"] = Field(
        default="mini",
        description="mini: the miniature grammar; coco: captions; text: a prompt per line; jsonl, parquet: a column",
    )
    path: str | None = Field(
        default=None,
        description="what to read: a file, a folder or a pattern such as s3://bucket/laion/*.parquet, plain or gzip;"
        " null takes the training captions of the caption set (coco)",
        json_schema_extra=FILES,
    )
    column: str = Field(
        default="TEXT", min_length=1, description="the Parquet column or JSONL field that holds the prompts"
    )
    columns: PromptColumns = Field(default=PromptColumns(), description=PromptColumns.__doc__)
    filters: PromptFilters = Field(default=PromptFilters(), description=PromptFilters.__doc__)
    reflow_count: Count = Field(default=20000, description="prompts, and so pairs, of the reflow part")
    distill_count: Count = Field(default=20000, description="prompts, and so pairs, of the distillation part")
    min_characters: Count = Field(default=1, description="shorter prompts are left out and counted, characters")
    max_characters: Count = Field(default=1000, description="longer prompts are left out and counted, characters")
    near_duplicates: Annotated[float, Field(ge=0.5, lt=1)] | None = Field(
        default=0.8,
        description="similarity (Jaccard, of runs of four letters) from about which a prompt is left out for an earlier"
        " one; null keeps all but equal ones; those of mini are all alike and kept",
    )
    seed: Seed = Field(default=0, description="seed of the choice and order of prompts")

    @model_validator(mode="after")
    def _has_path(self) -> Prompts:
        if self.source in _PLACED and self.path is None:
            raise ValueError(f'source "{self.source}" needs `path`, the file to read')
        return self

    @model_validator(mode="after")
    def _has_no_idle_field(self) -> Prompts:
        """A setting without an effect is a mistake: somebody thinks that it has one."""
        idle = {"path": ("mini",), "near_duplicates": ("mini",), **dict.fromkeys(_TABULAR, ("mini", "coco", "text"))}
        for name, sources in idle.items():
            if self.source in sources and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'`{name}` has no effect with source "{self.source}": leave it out, or set `source`')
        for name, field in PromptColumns.model_fields.items():
            if getattr(self.columns, name) != field.default and name not in self.filters.columns():
                raise ValueError(f"`columns.{name}` has no effect: no filter reads it; leave it out, or set the filter")
        return self

    @model_validator(mode="after")
    def _has_lengths(self) -> Prompts:
        if self.min_characters > self.max_characters:
            raise ValueError(f"`min_characters` {self.min_characters} exceeds `max_characters` {self.max_characters}")
        return self

    def count(self, part: Part) -> int:
        """How many prompts the part has."""
        return {"reflow": self.reflow_count, "distill": self.distill_count}[part]


_PLACED = ("text", "jsonl", "parquet")
_TABULAR = ("column", "columns", "filters")


class PromptsJob(Prompts):
    """Sample prompts; the captions of `coco` are a source, and those used in the evaluation are excluded."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")

    @classmethod
    def of(cls, prompts: Prompts, coco: Coco) -> PromptsJob:
        """The job of a recipe's sections."""
        return cls(**dict(prompts), coco=coco.within())


class Pairs(Section):
    """How noise becomes a latent: the teacher's ODE. There are as many pairs as prompts of the part."""

    solver: Solver = Field(default="dpmsolver++", description="the ODE solver")
    steps: Count = Field(default=25, description="solver steps per sample")
    guidance: Guidance = Field(default=5.0, description="guidance scale a in v(null) + a (v(text) - v(null)); 1 is off")
    shard_size: Count = Field(default=512, description="pairs per shard, the unit of work and of resume")
    max_abs_latent: Rate = Field(default=30.0, description="a latent with a larger absolute value is quarantined")
    seed: Seed = Field(default=0, description="seed from which every sample's own seed follows")


class StudentPairs(Pairs):
    """How the 2-RF makes the pairs to distill from."""

    solver: Solver = Field(default="euler", description="the ODE solver; a flow takes euler, heun or unipc")
    guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF; its sweet spot is 1.5 to 2")
    seed: Seed = Field(default=1, description="seed from which every sample's own seed follows")


class PairsJob(Pairs):
    """Make the pairs of one part of the prompts."""

    part: Part = Field("reflow", description="which part of the prompts")
    round: Count = Field(1, description="which reflow they are for: each round draws noise of its own")
    dtype: Dtype = Field("fp32", description="precision of the network that is solved")
    samples: Count | None = Field(
        default=None,
        description="prompts of the part, for a plan made before they are; null: not known",
        json_schema_extra=ASIDE,
    )

    @classmethod
    def of(cls, pairs: Pairs, part: Part, prompts: Prompts, dtype: Dtype, round: int = 1) -> PairsJob:
        """The job of a recipe's sections for one part of its prompts."""
        return cls(**dict(pairs), part=part, round=round, dtype=dtype, samples=prompts.count(part))


class Training(Trained):
    """What the trainings of the chain have in common."""

    warmup_steps: int = _warmup(200, ", at the beginning of each phase")
    decay: Decay = Field(
        default="constant",
        description="what follows the warm-up: a constant learning rate (the paper) or half a cosine down to 0",
    )
    ema_decay: Fraction = _ema()
    gradient_clip: Rate = Field(default=1.0, description="largest norm of the gradient; a larger one is scaled down")
    precision: Precision = Field(default="fp32", description="number format of the forward and backward pass")
    checkpoint_every_steps: Count = _every_steps(500)
    shuffle_shards: Annotated[int, Field(ge=2)] | None = Field(
        default=None,
        description="shards of pairs that are held at a time: half of them are shuffled while the other half comes, for"
        " data that is far away or larger than the cache. null: an exact shuffle of all pairs, for data that is local",
        json_schema_extra=as_before(None),
    )


class Perceptual(Section):
    """The perceptual distance."""

    kind: Literal["mini", "lpips"] = Field(
        default="mini",
        description="mini: the small CLIP's layers in the LPIPS formula; lpips: the lpips package",
    )
    network: Literal["vgg", "alex"] = Field(default="vgg", description="trunk of the lpips package")
    trunk_weights: str | None = Field(
        default=None,
        description="file of that trunk's weights; null takes torchvision's cache",
        json_schema_extra=ASIDE,
    )

    def located(self) -> Self:
        """With the trunk's weights from torchvision's cache, where none are named and they are there."""
        from models.known_weights import cached_trunk

        if self.kind == "mini" or self.trunk_weights is not None:
            return self
        cached = cached_trunk(self.network)
        return self.model_copy(update={"trunk_weights": str(cached)}) if cached.is_file() else self


class ReflowPhase(Section):
    """One phase of a reflow."""

    steps: Count = Field(default=6000, description="training steps of the phase")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")


class Perceiving(Training):
    """A training that may compare pictures."""

    perceptual: Perceptual = Field(default=Perceptual(), description="the distance of pictures")

    @property
    def compares_pictures(self) -> bool:
        """Whether it does."""
        raise NotImplementedError

    @property
    def needs_mini_clip(self) -> bool:
        """Whether pictures are compared by the layers of the small CLIP."""
        return self.perceptual.kind == "mini" and self.compares_pictures

    def located(self) -> Self:
        """With the trunk of the perceptual distance, if it is needed."""
        return self.model_copy(update={"perceptual": self.perceptual.located()}) if self.compares_pictures else self


class Reflow(Perceiving):
    """Training of the rectified flow on pairs, phase after phase."""

    rounds: Count = Field(
        default=1, description="times to reflow; 1 gives the 2-rectified flow", json_schema_extra=ASIDE
    )
    parameterization: Literal["raw", "converted", "epsilon"] = Field(
        default="converted",
        description="raw: the teacher's network as it is; converted: its output as a velocity; epsilon: it stays a"
        " diffusion model, its path and its output as they were (Rectified Diffusion)",
    )
    sigma_density: Literal["uniform", "u_shaped"] = Field(
        default="uniform", description="distribution of sigma in training; of the timestep for `epsilon`"
    )
    loss: Literal["l2", "huber", "lpips_huber"] = Field(
        default="l2",
        description="l2, huber: distance between velocities; lpips_huber: (1 - sigma) huber, and the perceptual"
        " distance of the pictures they lead to (2-RF++)",
    )
    phases: tuple[ReflowPhase, ...] = Field(
        default=(ReflowPhase(),), min_length=1, strict=False, description="the phases of each round, in order"
    )
    text_dropout: Fraction = Field(default=0.1, description=_DROPOUT)
    perceptual: Perceptual = Field(
        default=Perceptual(),
        description="the distance of lpips_huber",
        json_schema_extra=as_before(Perceptual().identity()),
    )

    @model_validator(mode="after")
    def _can_train(self) -> Reflow:
        _require_warmed_up(self.warmup_steps, _steps_of(self.phases))
        if self.parameterization == "epsilon" and self.loss == "lpips_huber":
            raise ValueError('loss "lpips_huber" is one of velocities; parameterization "epsilon" takes l2 or huber')
        return self

    @property
    def compares_pictures(self) -> bool:
        """Whether the loss does."""
        return self.loss == "lpips_huber"


class ReflowJob(Reflow):
    """Train one round."""

    round: Count = Field(1, description="which it is: each round draws sigmas and an order of its own")

    @classmethod
    def of(cls, reflow: Reflow, round: int) -> ReflowJob:
        """The job of a recipe's section for one of its rounds."""
        return cls(**dict(reflow), round=round)


class DistillPhase(Section):
    """One phase of a distillation."""

    loss: Literal["l2", "huber", "perceptual", "lpips_huber"] = Field(
        default="l2",
        description="l2, huber: between latents; perceptual: between decoded images; lpips_huber: both of these",
    )
    latent_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared latent error that is added to a perceptual distance; none in the paper",
    )
    steps: Count = Field(default=3000, description="training steps of the phase")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")

    @property
    def compares_pictures(self) -> bool:
        """Whether its distance is one of decoded images."""
        return self.loss in ("perceptual", "lpips_huber")


def _steps_of(phases: Sequence[ReflowPhase | DistillPhase]) -> dict[str, int]:
    """By the field that says so."""
    return {f"phases.{number}.steps": phase.steps for number, phase in enumerate(phases)}


class Distill(Perceiving):
    """Training of the one-step student, phase after phase."""

    architecture: Literal["same", "stacked"] = Field(
        default="same",
        description="same: the network that is distilled; stacked: two of it in series (InstaFlow-1.7B)",
        json_schema_extra=as_before("same"),
    )
    parameterization: Literal["raw", "epsilon"] = Field(
        default="raw",
        description="what a diffusion model becomes: raw: its output is a velocity; epsilon: it stays one, and is"
        " distilled at its last timestep (Rectified Diffusion). A flow stays what it is",
        json_schema_extra=as_before("raw"),
    )
    phases: tuple[DistillPhase, ...] = Field(
        default=(
            DistillPhase(),
            DistillPhase(loss="perceptual", steps=1000, batch_size=32, learning_rate=1e-4),
        ),
        min_length=1,
        strict=False,
        description="the phases, in order",
    )
    warmup_steps: int = _warmup(100, ", at the beginning of each phase")
    perceptual: Perceptual = Field(default=Perceptual(), description="the distance of the perceptual phases")

    @model_validator(mode="after")
    def _warms_up(self) -> Distill:
        _require_warmed_up(self.warmup_steps, _steps_of(self.phases))
        return self

    @property
    def compares_pictures(self) -> bool:
        """Whether a phase does."""
        return any(phase.compares_pictures for phase in self.phases)


class Direct(Distill):
    """The baseline: the same distillation, straight from the teacher."""

    enabled: bool = Field(default=True, description="whether to train the baseline at all", json_schema_extra=ASIDE)


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


class Evaluate(Judging):
    """The evaluation protocol."""

    steps: Counts = Field(
        default=(1, 2, 4, 8, 25),
        description="numbers of solver steps to evaluate the 2-RF and the teacher at",
    )
    teacher_steps: Count = Field(default=25, description="solver steps of the teacher's reference pictures")
    teacher_guidance: Guidance = Field(default=5.0, description="guidance scale of the teacher")
    rectified_guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF")
    guidances: tuple[Guidance, ...] = Field(
        default=(),
        strict=False,
        description="more guidance scales to measure the teacher at, at every number of steps: Frechet distance against"
        " CLIP score",
        json_schema_extra=as_before([]),
    )
    teacher_solver: Solver = Field(default="dpmsolver++", description="solver of the teacher")
    straightness_images: Count = Field(default=256, description="samples of the straightness estimate")
    seed: Seed = Field(default=1000, description="seed from which every evaluation sample's own seed follows")


class EvaluateJob(Evaluate):
    """Measure every model on the captions of `coco`."""

    coco: Coco = Field(Coco(), description="files of the caption set within the input `coco`")
    roles: tuple[Role, ...] = Field(
        default=STANDARD,
        strict=False,
        description="the models that are measured, as far as they are inputs",
        json_schema_extra=as_before([role.identity() for role in STANDARD]),
    )

    @classmethod
    def of(cls, evaluate: Evaluate, coco: Coco, roles: tuple[Role, ...]) -> EvaluateJob:
        """The job of a recipe's sections and an algorithm's roles."""
        return cls(**dict(evaluate), coco=coco.within(), roles=roles)


class Report(Section):
    """What the report shows."""

    columns: Count = Field(default=10, description="prompts, the columns of the contact sheet")
    trajectories: int = Field(default=3, ge=0, description="latents whose paths are drawn")


class Page(Section):
    """What an algorithm's page says of itself."""

    title: str = Field(default="Report", description="its heading")
    about: str = Field(default="", description="a sentence under the heading")
    source: str = Field(default="", description="the paper, at the foot of the page")


class ReportJob(Report):
    """Show what an algorithm made, beside what it claims."""

    algorithm: str = Field(
        default="instaflow", description="whose claims they are", json_schema_extra=as_before("instaflow")
    )
    claims: tuple[Claim | StepwiseClaim, ...] = Field(
        default=(), strict=False, description="what the algorithm promises", json_schema_extra=ASIDE
    )
    page: Page = Field(default=Page(), description=Page.__doc__, json_schema_extra=ASIDE)

    @classmethod
    def of(
        cls, report: Report, algorithm: str, claims: tuple[Claim | StepwiseClaim, ...], page: Page | None = None
    ) -> ReportJob:
        """The job of a recipe's section, an algorithm's claims and what its page says."""
        return cls(**dict(report), algorithm=algorithm, claims=claims, page=page or Page())
