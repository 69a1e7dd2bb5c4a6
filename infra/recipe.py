"""The recipe: what to run, as frozen documented models, read from one YAML file.

`placement` and `performance` say where and how fast; they and every field marked `identity: False` (paths,
how often to checkpoint) never enter a fingerprint. What lies at a path enters by its digest, as an
input of the stage.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails

from infra.errors import UserError
from infra.extends import EXTENDS, Named, read_layers
from infra.yaml_file import parse_yaml, shown

ASIDE: dict[str, JsonValue] = {"identity": False}  # json_schema_extra of a field that does not affect the output

Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**48)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Guidance = Annotated[float, Field(ge=0)]
Counts = Annotated[tuple[Count, ...], Field(min_length=1, strict=False)]
Dtype = Literal["fp32", "bf16", "fp16"]
Precision = Literal["fp32", "bf16"]
Decay = Literal["constant", "cosine"]
Solver = Literal["dpmsolver++", "ddim", "euler"]

_SEED = "seed of the stage's random numbers"
_CHECKPOINT = "training steps between two checkpoints"
_CHECKPOINT_MINUTES = "minutes after which there is a checkpoint even if those steps are not done yet"
_WARMUP = "steps over which the learning rate rises linearly to its value"
_EMA = "decay per step of the exponential moving average of the weights (kept in fp32); 0 is off"
_DECAY = "what follows the warm-up: a constant learning rate (the paper) or half a cosine down to 0"
_CLIP = "largest norm of the gradient; a larger one is scaled down"
_DROPOUT = "fraction of samples trained with the empty prompt"


class Section(BaseModel):
    """Base of every part of a recipe: frozen, strict types, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    def identity(self) -> dict[str, JsonValue]:
        """The output-affecting fields with defaults filled in: what a fingerprint is made of."""
        return {
            name: _identity(getattr(self, name))
            for name, field in type(self).model_fields.items()
            if field.json_schema_extra != ASIDE
        }


def _identity(value: Any) -> JsonValue:
    if isinstance(value, Section):
        return value.identity()
    if isinstance(value, tuple):
        return [_identity(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str))
    return value


class World(Section):
    """The miniature world: captioned scenes of 32x32 pixels."""

    train_images: int = Field(default=0, ge=0, description="pictures of the training split; 0 makes none")
    val_images: Count = Field(default=2000, description="pictures of the validation split")
    captions_per_image: Count = Field(default=5, description="captions beside each picture")
    seed: Seed = Field(default=1, description="seed of scenes and captions")


class TeacherSource(Section):
    """The diffusion model to start from."""

    path: str = Field(
        default="mini",
        min_length=1,
        description='"mini" for the embedded one, else a diffusers folder',
        json_schema_extra=ASIDE,
    )
    dtype: Dtype = Field(default="fp32", description="number format the teacher runs in")


class TrainTeacher(Section):
    """Training of a small teacher: first the autoencoder, then the denoiser."""

    autoencoder_steps: Count = Field(default=6000, description="training steps of the autoencoder")
    autoencoder_learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the autoencoder, per step")
    autoencoder_batch_size: Count = Field(default=64, description="pictures per step of the autoencoder")
    steps: Count = Field(default=20000, description="training steps of the denoiser")
    learning_rate: Rate = Field(default=5e-4, description="peak learning rate of the denoiser, per step")
    batch_size: Count = Field(default=128, description="pictures per step of the denoiser")
    text_dropout: Fraction = Field(default=0.1, description=_DROPOUT)
    ema_decay: Fraction = Field(default=0.999, description=_EMA)
    warmup_steps: int = Field(default=500, ge=0, description=_WARMUP)
    seed: Seed = Field(default=0, description=_SEED)
    checkpoint_every_steps: Count = Field(default=1000, description=_CHECKPOINT, json_schema_extra=ASIDE)
    checkpoint_every_minutes: Rate = Field(default=30.0, description=_CHECKPOINT_MINUTES, json_schema_extra=ASIDE)


class TrainClip(Section):
    """Training of the small CLIP and of the attribute reader on top of it."""

    steps: Count = Field(default=4000, description="training steps of the CLIP")
    batch_size: Count = Field(default=256, description="pictures per step of the CLIP")
    learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the CLIP, per step")
    reader_steps: Count = Field(default=2000, description="training steps of the attribute reader")
    reader_batch_size: Count = Field(default=256, description="pictures per step of the attribute reader")
    reader_learning_rate: Rate = Field(default=1e-3, description="peak learning rate of the attribute reader, per step")
    seed: Seed = Field(default=0, description=_SEED)
    checkpoint_every_steps: Count = Field(default=1000, description=_CHECKPOINT, json_schema_extra=ASIDE)
    checkpoint_every_minutes: Rate = Field(default=30.0, description=_CHECKPOINT_MINUTES, json_schema_extra=ASIDE)


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


class Prompts(Section):
    """Which prompts the two sets of pairs are made of."""

    source: Literal["mini", "coco", "text", "parquet"] = Field(
        default="mini",
        description="mini: the miniature grammar; coco: captions; text: a prompt per line; parquet: a column",
    )
    path: str | None = Field(
        default=None,
        description="the file (text, parquet) or caption file (coco) to read",
        json_schema_extra=ASIDE,
    )
    column: str = Field(default="prompt", description="the Parquet column that holds the prompts")
    reflow_count: Count = Field(default=20000, description="prompts, and so pairs, of the reflow part")
    distill_count: Count = Field(default=20000, description="prompts, and so pairs, of the distillation part")
    max_characters: Count = Field(default=1000, description="longer prompts are left out and counted, characters")
    seed: Seed = Field(default=0, description="seed of the choice and order of prompts")

    @model_validator(mode="after")
    def _has_path(self) -> Prompts:
        if self.source in ("text", "parquet") and self.path is None:
            raise ValueError(f'source "{self.source}" needs `path`, the file to read')
        return self


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

    solver: Solver = Field(default="euler", description="the ODE solver; a flow is simulated by Euler")
    guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF; its sweet spot is 1.5 to 2")
    seed: Seed = Field(default=1, description="seed from which every sample's own seed follows")


class Reflow(Section):
    """Training of the rectified flow on pairs."""

    rounds: Count = Field(default=1, description="times to reflow; 1 gives the 2-rectified flow")
    parameterization: Literal["raw", "converted"] = Field(
        default="converted",
        description="raw: the teacher's network as it is; converted: its output as a velocity",
    )
    sigma_density: Literal["uniform", "u_shaped"] = Field(
        default="uniform", description="distribution of sigma in training"
    )
    loss: Literal["l2", "huber"] = Field(default="l2", description="distance between velocities")
    steps: Count = Field(default=6000, description="training steps of each round")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")
    warmup_steps: int = Field(default=200, ge=0, description=_WARMUP)
    decay: Decay = Field(default="constant", description=_DECAY)
    ema_decay: Fraction = Field(default=0.999, description=_EMA)
    text_dropout: Fraction = Field(default=0.1, description=_DROPOUT)
    gradient_clip: Rate = Field(default=1.0, description=_CLIP)
    precision: Precision = Field(default="fp32", description="number format of the forward and backward pass")
    seed: Seed = Field(default=0, description=_SEED)
    checkpoint_every_steps: Count = Field(default=500, description=_CHECKPOINT, json_schema_extra=ASIDE)
    checkpoint_every_minutes: Rate = Field(default=30.0, description=_CHECKPOINT_MINUTES, json_schema_extra=ASIDE)


class DistillPhase(Section):
    """One phase of a distillation."""

    loss: Literal["l2", "huber", "perceptual"] = Field(
        default="l2", description="l2, huber: between latents; perceptual: between decoded images"
    )
    latent_weight: float = Field(
        default=0.0,
        ge=0,
        description="weight of the squared latent error that is added to a perceptual distance; none in the paper",
    )
    steps: Count = Field(default=3000, description="training steps of the phase")
    batch_size: Count = Field(default=64, description="pairs per step")
    learning_rate: Rate = Field(default=3e-4, description="peak learning rate, per step")


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


class Distill(Section):
    """Training of the one-step student, phase after phase."""

    phases: tuple[DistillPhase, ...] = Field(
        default=(
            DistillPhase(),
            DistillPhase(loss="perceptual", steps=1000, batch_size=32, learning_rate=1e-4),
        ),
        min_length=1,
        strict=False,
        description="the phases, in order",
    )
    warmup_steps: int = Field(default=100, ge=0, description=_WARMUP + ", at the beginning of each phase")
    decay: Decay = Field(default="constant", description=_DECAY)
    ema_decay: Fraction = Field(default=0.999, description=_EMA)
    gradient_clip: Rate = Field(default=1.0, description=_CLIP)
    precision: Precision = Field(default="fp32", description="number format of the forward and backward pass")
    seed: Seed = Field(default=0, description=_SEED)
    checkpoint_every_steps: Count = Field(default=500, description=_CHECKPOINT, json_schema_extra=ASIDE)
    checkpoint_every_minutes: Rate = Field(default=30.0, description=_CHECKPOINT_MINUTES, json_schema_extra=ASIDE)
    perceptual: Perceptual = Field(default=Perceptual(), description="the distance of the perceptual phases")


class Direct(Distill):
    """The baseline: the same distillation, straight from the teacher."""

    enabled: bool = Field(default=True, description="whether to train the baseline at all", json_schema_extra=ASIDE)


class Clip(Section):
    """The CLIP that scores how well a picture fits its prompt."""

    architecture: str = Field(
        default="mini", min_length=1, description='"mini" for the embedded one, else an open_clip name'
    )
    weights: str | None = Field(default=None, description="file of its weights", json_schema_extra=ASIDE)
    prompt_prefix: str = Field(default="", description="put before every prompt")


class Evaluate(Section):
    """The evaluation protocol."""

    num_images: int = Field(default=1000, ge=2, description="captions, and so pictures, per model and number of steps")
    shard_size: Count = Field(default=2500, description="pictures per shard of statistics, the unit of resume")
    steps: Counts = Field(
        default=(1, 2, 4, 8, 25),
        description="numbers of solver steps to evaluate the 2-RF and the teacher at",
    )
    teacher_steps: Count = Field(default=25, description="solver steps of the teacher's reference pictures")
    teacher_guidance: Guidance = Field(default=5.0, description="guidance scale of the teacher")
    rectified_guidance: Guidance = Field(default=1.5, description="guidance scale of the 2-RF")
    teacher_solver: Solver = Field(default="dpmsolver++", description="solver of the teacher")
    features: Literal["mini", "inception"] = Field(
        default="mini", description="features of the Frechet distance: the small CLIP's or Inception's"
    )
    inception_weights: str | None = Field(
        default=None, description="file of the Inception weights", json_schema_extra=ASIDE
    )
    clip: Clip = Field(default=Clip(), description="the CLIP of the CLIP score")
    straightness_images: Count = Field(default=256, description="samples of the straightness estimate")
    seed: Seed = Field(default=1000, description="seed from which every evaluation sample's own seed follows")

    @model_validator(mode="after")
    def _can_read(self) -> Evaluate:
        if self.features == "inception" and self.inception_weights is None:
            raise ValueError('features "inception" needs `inception_weights`, the file of its weights')
        if self.clip.architecture != "mini" and self.clip.weights is None:
            raise ValueError(f'clip.architecture "{self.clip.architecture}" needs `clip.weights`, a file')
        return self


class Report(Section):
    """What the report shows."""

    columns: Count = Field(default=10, description="prompts, the columns of the contact sheet")
    trajectories: int = Field(default=3, ge=0, description="latents whose paths are drawn")


class Performance(Section):
    """How fast: never part of a fingerprint."""

    sample_batch_size: Count = Field(default=128, description="samples per solver batch")
    throughput_batch_sizes: Counts = Field(
        default=(1, 8, 32, 128), description="batch sizes at which samples per second are measured"
    )


class Placement(Section):
    """Where: never part of a fingerprint. Not used yet: `instaflow run` does every stage in its own process."""

    pool: str | None = Field(default=None, description="Prefect work pool of the heavy stages; not used yet")
    workers: Count = Field(default=1, description="runs that share the units of a stage; not used yet")


class Recipe(Section):
    """Everything a run of the chain depends on."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="names the recipe's runs in the store")
    seed: Seed = Field(default=0, description="added to every section's seed but the world's")
    world: World | None = Field(
        default=World(), description="the miniature world; null when coco.path names a data set"
    )
    teacher: TeacherSource = Field(default=TeacherSource(), description=TeacherSource.__doc__)
    train_teacher: TrainTeacher | None = Field(
        default=None, description="set to train the teacher instead of loading one"
    )
    train_clip: TrainClip | None = Field(default=None, description="set to train the small CLIP instead of loading one")
    coco: Coco = Field(default=Coco(), description=Coco.__doc__)
    prompts: Prompts = Field(default=Prompts(), description=Prompts.__doc__)
    pairs: Pairs = Field(default=Pairs(), description=Pairs.__doc__)
    reflow: Reflow = Field(default=Reflow(), description=Reflow.__doc__)
    student_pairs: StudentPairs = Field(default=StudentPairs(), description=StudentPairs.__doc__)
    distill: Distill = Field(default=Distill(), description=Distill.__doc__)
    direct: Direct = Field(default=Direct(), description=Direct.__doc__)
    evaluate: Evaluate = Field(default=Evaluate(), description=Evaluate.__doc__)
    report: Report = Field(default=Report(), description=Report.__doc__)
    performance: Performance = Field(default=Performance(), description=Performance.__doc__)
    placement: Placement = Field(default=Placement(), description=Placement.__doc__)

    @model_validator(mode="after")
    def _has_pictures(self) -> Recipe:
        if self.world is None and self.coco.path is None:
            raise ValueError("without `world` the evaluation needs `coco.path`, a folder in the MS COCO layout")
        return self

    def seeded(self) -> Recipe:
        """The recipe with `seed` added to every section's seed but the world's, and itself 0."""
        sections = {name: getattr(self, name) for name in type(self).model_fields if name != "world"}
        shifted = {
            name: section.model_copy(update={"seed": section.model_dump()["seed"] + self.seed})
            for name, section in sections.items()
            if isinstance(section, Section) and "seed" in type(section).model_fields
        }
        return self.model_copy(update={**shifted, "seed": 0})


def load_recipe(path: str | Path, overrides: Sequence[str] = (), named: Named | None = None) -> Recipe:
    """Read a recipe file and what it extends, then apply `a.b=value` overrides (values are YAML).

    `named` gives the file of a bundled recipe, for `extends: mini`. Raises UserError naming file or override,
    dotted field, value and what was expected.
    """
    layers = read_layers(Path(path), named)
    recipe = _validated(layers.data, layers.where)
    return apply_overrides(recipe, overrides) if overrides else recipe


def parse_recipe(data: Mapping[str, Any], where: str) -> Recipe:
    """Validate plain data as a recipe; `where` names its origin in a UserError."""
    return _validated(data, lambda _: where)


def apply_overrides(recipe: Recipe, overrides: Sequence[str]) -> Recipe:
    """A copy with each `a.b=value` set. Raises UserError naming the override that does not fit."""
    data = recipe.model_dump()
    origin: dict[tuple[str, ...], str] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = tuple(key.strip().split("."))
        if not equals or not all(parts):
            raise UserError(f"--set {override}: expected key=value, for instance pairs.steps=10")
        _put(data, parts, parse_yaml(text, f"--set {override}"), override)
        origin[parts] = f"--set {override}"

    def where(location: tuple[str, ...]) -> str:
        near = [text for parts, text in origin.items() if location[: len(parts)] == parts[: len(location)]]
        return near[-1] if near else f"--set {' '.join(overrides)}"

    return _validated(data, where)


def _put(data: Any, parts: Sequence[str], value: Any, override: str) -> None:
    for depth, part in enumerate(parts):
        here = ".".join(parts[:depth]) or "the recipe"
        if isinstance(data, (list, tuple)):
            raise UserError(f"--set {override}: {here} is a list: set it whole, for instance {here}=[...]")
        if not isinstance(data, dict):
            raise UserError(f"--set {override}: {here} is {data!r} and has no fields; expected a section")
        if depth == len(parts) - 1:
            data[part] = value
        elif data.get(part) is None:  # an optional section that is off: setting a field turns it on
            data[part] = {}
        data = data[part]


def _validated(data: Mapping[str, Any], where: Callable[[tuple[str, ...]], str]) -> Recipe:
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        details = _innermost(error.errors())
        raise UserError("\n".join(_explained(detail, where) for detail in details)) from error


def _innermost(details: list[ErrorDetails]) -> list[ErrorDetails]:
    # a bad item also makes its list too short: say only the first
    places = [detail["loc"] for detail in details]
    return [
        detail
        for detail in details
        if not any(len(at) > len(detail["loc"]) and at[: len(detail["loc"])] == detail["loc"] for at in places)
    ]


def _explained(detail: ErrorDetails, where: Callable[[tuple[str, ...]], str]) -> str:
    location = tuple(map(str, detail["loc"]))
    field, source = ".".join(location) or "recipe", where(location)
    if detail["type"] == "extra_forbidden":
        return f"{source}: {field}: unknown key. {_nearest(location)}"
    if detail["type"] == "missing":
        return f"{source}: {field}: missing. {_meaning(location)}"
    if detail["type"] == "value_error":
        return f"{source}: {field}: {detail['ctx']['error']}."
    expected = detail["msg"].removeprefix("Input should be ")
    text = f"{source}: {field}: found {shown(detail['input'])}, expected {expected}. {_meaning(location)}"
    return text.rstrip()


def _nearest(location: tuple[str, ...]) -> str:
    section = _section_at(location[:-1])
    keys = [*section.model_fields, *([EXTENDS] if section is Recipe else [])] if section else []
    near = difflib.get_close_matches(location[-1], keys, n=1, cutoff=0.5)
    prefix = "".join(f"{part}." for part in location[:-1])
    return f"Did you mean {prefix}{near[0]}?" if near else f"Valid keys here: {', '.join(keys)}."


def _meaning(location: tuple[str, ...]) -> str:
    section = _section_at(location[:-1])
    field = section.model_fields.get(location[-1]) if section and location else None
    return f"({location[-1]}: {field.description})" if field else ""


def _section_at(location: tuple[str, ...]) -> type[Section] | None:
    section: type[Section] | None = Recipe
    for part in location:
        if section is None or part.isdigit():  # a list's items are of the kind found at the list
            continue
        field = section.model_fields.get(part)
        section = _section_in(field.annotation) if field else None
    return section


def _section_in(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for part in get_args(annotation) if (found := _section_in(part))), None)
