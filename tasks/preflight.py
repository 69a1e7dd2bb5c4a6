"""What can be told of a stage before anything is computed: from fields, counts, names and the headers of files.

Light: no torch. Each function gives its findings as sentences that begin with the recipe's field.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from pathlib import Path

from infra.artifact.files import Files
from infra.errors import UserError
from infra.recipe import Section
from models.clip_names import check_architecture, check_tag
from models.known_weights import (
    cached_trunk,
    check_clip,
    check_dinov2,
    check_inception,
    check_trunk,
)
from models.pipelines.folder import Parameterization, check_folder, check_solver
from tasks.data.coco import read_captions
from tasks.data.drawn import files_in, paired
from tasks.data.prompt_pieces import pieces
from tasks.evaluate.cells import present, too_few_captions
from tasks.evaluate.real_set import real_names
from tasks.sections import (
    Adopt,
    Clip,
    EvaluateJob,
    PairsJob,
    Perceiving,
    Perceptual,
    PromptsJob,
    RealJob,
    Reflow,
    TrainTeacher,
    World,
)
from tasks.stage import named_paths


@dataclass(frozen=True)
class Foreseen:
    """An input before it is there: the folder in which it lies ready, or what the stage is told that will make it."""

    folder: Path | None = None
    config: Section | None = None
    inputs: Mapping[str, Foreseen] = field(default_factory=dict)


def absent_files(config: Section, at: str) -> Iterator[str]:
    """The files that are named and not there; `at` is the recipe's section."""
    for name, named in named_paths(config).items():
        try:
            named.require()
        except UserError as error:
            yield f"{at}.{name}: {error}"


def model_faults(folder: Path, at: str) -> Iterator[str]:
    """Why a folder is no model; `at` is the recipe's field."""
    yield from _told(at, lambda: check_folder(folder))


@singledispatch
def faults(config: Section, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    """What is wrong with a stage of this configuration and these inputs; `at` is the recipe's section."""
    yield from ()


@faults.register
def _(config: PairsJob, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    yield from _solver_faults(inputs["teacher"], config.solver, f"{at}.solver")


@faults.register
def _(config: PromptsJob, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    if config.path is not None and not [*absent_files(config, at)]:
        try:
            pieces(config, Files.open(config.path))
        except UserError as error:
            yield str(error)


@faults.register
def _(config: Perceiving, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    if config.compares_pictures:
        yield from _trunk_faults(config.perceptual, f"{at}.perceptual.trunk_weights")


@faults.register
def _(config: EvaluateJob, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    for role in present(config, inputs):
        if role.sampling == "teacher":
            yield from _solver_faults(inputs[role.input], config.teacher_solver, f"{at}.teacher_solver")
        elif role.sampling == "drawn" and (folder := inputs[role.input].folder):
            yield from _drawn_faults(folder, inputs["coco"], config, at)


@faults.register
def _(config: RealJob, inputs: Mapping[str, Foreseen], at: str) -> Iterator[str]:
    """The judges are those of the evaluation, and so are the captions."""
    if config.features == "inception" and config.inception_weights is not None:
        yield from _file_faults(f"{at}.inception_weights", config.inception_weights, check_inception)
    if config.dinov2_weights is not None:
        yield from _file_faults(f"{at}.dinov2_weights", config.dinov2_weights, check_dinov2)
    yield from _clip_faults(config.clip, f"{at}.clip")
    if config.cmmd_clip is not None:
        yield from _clip_faults(config.cmmd_clip, f"{at}.cmmd_clip")
    yield from _caption_faults(config, inputs["coco"], at)


def _caption_faults(config: RealJob, coco: Foreseen, at: str) -> Iterator[str]:
    try:
        count = _captions(coco, config)
    except UserError as error:
        yield f"coco.annotations: {error}."
        return
    if count is not None and (fault := too_few_captions(config, count, config.coco.annotations)):
        yield f"{at}.{fault}"


def _drawn_faults(folder: Path, coco: Foreseen, config: EvaluateJob, at: str) -> Iterator[str]:
    if (count := len(files_in(folder))) != config.num_images:
        yield f"{at}.num_images: {config.num_images}, and {folder} holds {count} pictures; expected as many."
        return
    try:
        names = picture_files(config, coco.folder)[1][:count] if coco.folder else []
    except UserError:  # of the captions: told elsewhere
        return
    try:
        paired(folder, names)
    except UserError as error:
        yield f"pictures: {error}"


def picture_files(config: RealJob | EvaluateJob, coco: Path) -> tuple[Path, list[str]]:
    """The folder of the real pictures, and the names of those that are looked at. Raises UserError."""
    annotations = coco / config.coco.annotations
    return coco / config.coco.images, real_names(config, annotations, read_captions(annotations))


def _trunk_faults(perceptual: Perceptual, at: str) -> Iterator[str]:
    network = perceptual.network
    if perceptual.kind == "lpips" and perceptual.trunk_weights is None:
        yield (
            f"{at}: null, and torchvision's cache has no {cached_trunk(network)}. Put torchvision's weights there or"
            " name their file; nothing is downloaded."
        )
    elif perceptual.kind == "lpips" and perceptual.trunk_weights is not None:
        yield from _file_faults(at, perceptual.trunk_weights, lambda path: check_trunk(path, network))


def _clip_faults(told: Clip, at: str) -> Iterator[str]:
    architecture, weights = told.architecture, told.weights
    if architecture == "mini" or Path(architecture).is_dir():
        return
    wrong = [
        *_told(f"{at}.architecture", lambda: check_architecture(architecture)),
        *_told(f"{at}.tag", lambda: check_tag(architecture, told.tag)),
    ]
    yield from wrong
    if weights is not None and not wrong:
        yield from _file_faults(f"{at}.weights", weights, lambda path: check_clip(path, architecture))


def _solver_faults(model: Foreseen, solver: str, at: str) -> Iterator[str]:
    predicts = _predicts(model)
    if predicts is not None:
        yield from _told(at, lambda: check_solver(predicts, solver))


def _predicts(model: Foreseen) -> Parameterization | None:
    """What the network of a model predicts; None where its folder does not tell: why is said elsewhere."""
    if model.folder is not None:
        try:
            return check_folder(model.folder).parameterization
        except (OSError, ValueError):
            return None
    if isinstance(model.config, Reflow):
        told = model.config.parameterization
        return "diffusion" if told == "epsilon" else told
    if isinstance(model.config, Adopt):
        return "raw"
    return "diffusion" if isinstance(model.config, TrainTeacher) else None


def _captions(coco: Foreseen, config: RealJob) -> int | None:
    """How many captions there are, one a picture; None where nobody can tell yet."""
    if isinstance(coco.config, World):
        return coco.config.val_images
    return len(read_captions(coco.folder / config.coco.annotations)) if coco.folder else None


def _file_faults(at: str, path: str, check: Callable[[Path], None]) -> Iterator[str]:
    """What a check says of a file that is there; that it is not is said for all files alike."""
    file = Path(path).expanduser()
    if file.exists():
        yield from _told(at, lambda: check(file))


def _told(at: str, check: Callable[[], object]) -> Iterator[str]:
    try:
        check()
    except (OSError, ValueError) as error:
        yield f"{at}: {error}."
