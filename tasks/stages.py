"""The light table of stages: each declares itself here, once, and everything else follows from the declaration.

Name, version, section, inputs, how much work it is (its units by id, how they group, what they cost), the phases of
its trainings, the curve it leaves. Plan, progress, price, Prefect flow and resume are drawn from it; it imports nothing
heavy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from infra.recipe import Section
from tasks.evaluate.cells import (
    LATENCY_ROUNDS,
    SPEED,
    captions_needed,
    cells,
    real_shards,
    sets_of_pictures,
    shard_id,
    shards,
    simulated,
    straightness_id,
)
from tasks.sections import (
    Adopt,
    Direct,
    Distill,
    EvaluateJob,
    PairsJob,
    PromptsJob,
    RealJob,
    ReflowJob,
    ReportJob,
    TrainClip,
    TrainTeacher,
    World,
)


class Unit(NamedTuple):
    """What is committed at once: its id within the stage, and how many pieces progress counts for it."""

    id: str
    pieces: int = 1


Group = tuple[Unit, ...]
"""Units that are made together, by one worker; they depend on no other group."""


@dataclass(frozen=True)
class Phase:
    """A training within a stage: its checkpoints are kept under `name` until `unit` is committed."""

    name: str
    steps: int
    batch_size: int
    unit: str


@dataclass(frozen=True)
class Extent:
    """The work of a stage. Time goes with `cost` and room with `volume`, each in a measure of the stage's own.

    `merged` are the units that are put together from the others at the end. A plan counts in `unit`, progress in
    `piece`; a training is counted in steps by both.
    """

    groups: tuple[Group, ...]
    cost: float = 1.0
    volume: float = 1.0
    unit: str = "units"
    piece: str = "units"
    merged: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()

    @property
    def total(self) -> int:
        """Units, or steps of a training."""
        return sum(phase.steps for phase in self.phases) or sum(map(len, self.groups))

    @property
    def pieces(self) -> int:
        """All that progress counts."""
        return sum(unit.pieces for group in self.groups for unit in group)

    @property
    def ids(self) -> list[str]:
        """Every unit that the finished artifact consists of."""
        return [unit.id for group in self.groups for unit in group] + [*self.merged]

    def samples_between(self, before: int, after: int) -> int:
        """Samples in the progress from `before` to `after`: a training step is a batch of them."""
        if not self.phases:
            return after - before
        count, start = 0, 0
        for phase in self.phases:
            count += phase.batch_size * max(0, min(after, start + phase.steps) - max(before, start))
            start += phase.steps
        return count


class Curve(NamedTuple):
    """The training curve that a stage leaves: under which title the report draws it, in which role's colour."""

    title: str
    role: str


CURVE_FILE = "curve.parquet"
GLANCES_FILE, GLANCE_FILE = "glances.parquet", "glance.webp"
"""What a training shows while it runs, beside its checkpoints (tasks/train/live.py)."""


@dataclass(frozen=True)
class Stage:
    """A kind of work. `version` is bumped by hand when its output changes for the same configuration.

    `work` is the class that does it (tasks/stage.py); `inputs` maps each role to what it is: "coco", "model", "clip"
    and "pictures" may be plain folders, "artifact" is a stage's. `tree` is the folder in it that leaves the store.
    `told` is the recipe's section that its fields are of, where that is another stage's. `reads` says by role which
    files of an input are all that it reads, where that is not everything: what else changes there changes nothing here.
    `ranks` says that several devices can do it together: a training whose loss is a mean over the rows of a batch.
    """

    name: str
    version: int
    section: type[Section]
    work: str
    does: str
    extent: Callable[[Any, Collection[str]], Extent]
    inputs: Mapping[str, str] = field(default_factory=dict)
    tree: str | None = None
    curve: Curve | None = None
    told: str | None = None
    reads: Mapping[str, Callable[[Any], Collection[str]]] = field(default_factory=dict)
    ranks: bool = False


def shard_name(number: int) -> str:
    """The unit of a shard of pairs."""
    return f"shard-{number:06d}"


def shard_number(unit: str) -> int:
    """The place of a shard of pairs among the shards."""
    return int(unit.removeprefix("shard-"))


def _one(unit: str, pieces: int, piece: str) -> Extent:
    return Extent(((Unit(unit, pieces),),), pieces, pieces, piece=piece)


def _training(*phases: Phase) -> Extent:
    """A training is one group, whatever its units are."""
    units = dict.fromkeys(phase.unit for phase in phases)
    group = tuple(Unit(unit, sum(phase.steps for phase in phases if phase.unit == unit)) for unit in units)
    samples = sum(phase.steps * phase.batch_size for phase in phases)
    return Extent((group,), samples, unit="steps", piece="steps", phases=phases)


def _world(config: World, roles: Collection[str]) -> Extent:
    return _one("coco", config.train_images + config.val_images, "images")


def _prompts(config: PromptsJob, roles: Collection[str]) -> Extent:
    return _one("prompts", config.reflow_count + config.distill_count, "prompts")


def _pairs(config: PairsJob, roles: Collection[str]) -> Extent:
    samples, size = config.samples or 0, config.shard_size
    groups = tuple(
        (Unit(shard_name(number), min(size, samples - number * size)),) for number in range(math.ceil(samples / size))
    )
    calls = 2 * config.steps - 1 if config.solver == "heun" else config.steps
    forwards = calls * (2 if config.guidance != 1 else 1)
    return Extent(groups, samples * forwards, samples, "shards", "pairs", merged=("index", "quarantine"))


def phase_name(number: int, loss: str) -> str:
    """The checkpoints of a phase of a reflow or a distillation."""
    return f"phase-{number}-{loss}"


def _reflow(config: ReflowJob, roles: Collection[str]) -> Extent:
    phases = enumerate(config.phases)
    return _training(*(Phase(phase_name(n, config.loss), one.steps, one.batch_size, "model") for n, one in phases))


def _distill(config: Distill, roles: Collection[str]) -> Extent:
    phases = enumerate(config.phases)
    return _training(*(Phase(phase_name(n, one.loss), one.steps, one.batch_size, "model") for n, one in phases))


def _teacher(config: TrainTeacher, roles: Collection[str]) -> Extent:
    return _training(
        Phase("autoencoder", config.autoencoder_steps, config.autoencoder_batch_size, "autoencoder"),
        Phase("denoiser", config.steps, config.batch_size, "model"),
    )


def _clip(config: TrainClip, roles: Collection[str]) -> Extent:
    reader = Phase("reader", config.reader_steps, config.reader_batch_size, "clip")
    return _training(Phase("clip", config.steps, config.batch_size, "clip"), *([reader] if reader.steps else []))


def _real(config: RealJob, roles: Collection[str]) -> Extent:
    """Pictures are counted where the recipe says how many there are, and shards of a whole split."""
    count, of_split = captions_needed(config), config.real == "split"
    shards = enumerate(real_shards(config, count))
    groups = tuple((Unit(shard_id("real", number), 1 if of_split else len(shard)),) for number, shard in shards)
    return Extent(groups, count, count, "shards", "shards" if of_split else "images")


def _evaluate(config: EvaluateJob, roles: Collection[str]) -> Extent:
    """A shard of everything is a group: a model is compared with its teacher, shard by shard."""
    measured = cells(config, roles)
    names = (*sets_of_pictures(config), *(cell.name for cell in measured))
    by_shard = [
        tuple(Unit(shard_id(name, number), len(pictures)) for name in names)
        for number, pictures in enumerate(shards(config))
    ]
    straight = [(Unit(straightness_id(role), config.straightness_images),) for role in simulated(config, roles)]
    timed = [(Unit(SPEED, LATENCY_ROUNDS),)] if any(cell.solver for cell in measured) else []
    cost = config.num_images * sum(cell.steps or 0 for cell in measured)
    return Extent((*by_shard, *straight, *timed), cost, piece="images", merged=("results",))


def _report(config: ReportJob, roles: Collection[str]) -> Extent:
    return _one("report", 2, "files")


_TRAIN = {"teacher": "model", "pairs": "artifact"}
_TABLE = (
    Stage("world", 2, World, "tasks.data.world:RenderWorld", "Render the miniature caption set", _world, tree="coco"),
    Stage("teacher", 3, TrainTeacher, "tasks.train.teacher:TeacherTraining", "Train the small diffusion teacher",
          _teacher, {"world": "coco"}, "model", Curve("Teacher", "teacher")),
    Stage("adopt", 1, Adopt, "tasks.data.adopt:AdoptFlow", "Turn a published flow of the paper's convention",
          lambda config, roles: _one("model", 1, "models"), {"teacher": "model"}, "model"),
    Stage("clip", 2, TrainClip, "tasks.train.clip:ClipTraining", "Train a small CLIP and an attribute reader",
          _clip, {"world": "coco"}, "clip"),
    Stage("prompts", 2, PromptsJob, "tasks.data.prompts:SamplePrompts", "Sample the prompts of both parts",
          _prompts, {"coco": "coco"}, reads={"coco": PromptsJob.read}),
    Stage("pairs", 2, PairsJob, "tasks.data.pairs:SolvePairs", "Solve noise to latent, one pair per prompt",
          _pairs, {"teacher": "model", "prompts": "artifact"}),
    Stage("reflow", 2, ReflowJob, "tasks.train.reflow:ReflowTraining", "Straighten the flow: one round",
          _reflow, _TRAIN | {"clip": "clip"}, "model", Curve("Reflow", "2-rf"), ranks=True),
    Stage("distill", 1, Distill, "tasks.train.distill:Distillation", "Distill a rectified flow to one step",
          _distill, _TRAIN | {"clip": "clip"}, "model", Curve("Distillation", "student"),
          ranks=True),
    Stage("direct", 1, Direct, "tasks.train.distill:Distillation", "Distill the teacher without reflow, the baseline",
          _distill, _TRAIN | {"more_pairs": "artifact", "clip": "clip"}, "model", Curve("Distillation", "direct"),
          ranks=True),
    Stage("real", 1, RealJob, "tasks.evaluate.real:RealPictures", "Look at the real pictures, once for all",
          _real, {"coco": "coco", "judge": "clip", "teacher": "model"}, told="evaluate"),
    Stage("evaluate", 3, EvaluateJob, "tasks.evaluate.evaluate:Evaluation", "Measure every model", _evaluate,
          {"coco": "coco", "real": "artifact", "judge": "clip", "pictures": "pictures"}),
    Stage("report", 1, ReportJob, "tasks.report.report:WriteReport", "Write the report", _report,
          {"evaluate": "artifact"}),
)  # fmt: skip
STAGES = {stage.name: stage for stage in _TABLE}


def gpus_fault(stage: Stage, gpus: int) -> str | None:
    """What is wrong with giving a stage so many devices; None if nothing is."""
    if gpus == 1 or stage.ranks:
        return None
    able = ", ".join(one.name for one in STAGES.values() if one.ranks)
    return f"found {gpus}, expected 1: only {able} are done by several together."


def stage_of(stage_id: str) -> Stage:
    """The stage of an id: `pairs-student` is a `pairs`."""
    return STAGES[stage_id.partition("-")[0]]
