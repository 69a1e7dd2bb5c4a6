"""Stage `evaluate`: every model at every number of steps, on the captions of a COCO split."""

import functools
import json
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra import stopping
from infra.artifact import Draft, Source
from infra.errors import UserError
from infra.recipe import Performance
from models.clip import Clip, load_clip
from models.metrics import Features, Moments, frechet_distance, inception_features
from models.mini.reader import load_reader
from models.solvers import straightness
from models.text_to_image import TextToImage
from tasks.coco import read_captions, read_image
from tasks.jobs import EvaluateJob
from tasks.load import load_model
from tasks.measure import CONTACT_PICTURES, Cell, Judges, Sampled, means, sample, seeds_of, speed
from tasks.measured import Measured, Metrics, parquet_schema
from tasks.order import sample_noise
from tasks.progress import Progress
from tasks.protocol import protocol
from tasks.stage import StageResult

ROLES = {"teacher": "teacher", "2-rf": "rectified", "student": "student", "direct": "direct"}
PATHS = 4
"""Simulated latent paths kept for the report."""

PICTURES = ("latents", "contact")
"""What a shard holds beside its statistics."""


class Evaluation:
    """One evaluation: its captions, its judges, its models (each loaded when first needed)."""

    def __init__(
        self,
        config: EvaluateJob,
        inputs: Mapping[str, Source],
        out: Draft,
        perf: Performance,
        progress: Progress,
    ) -> None:
        self.config, self.inputs, self.out, self.perf, self.progress = config, inputs, out, perf, progress
        coco = inputs["coco"].folder("coco")
        self.annotations, self.images = coco / config.coco.annotations, coco / config.coco.images
        self.captions = read_captions(self.annotations)
        self.judges = _judges(config, inputs)
        self.real = [caption.file_name for caption in self.captions[: config.num_images]]
        sampled = (len(self.cells()) + 1) * config.num_images
        self.total = len(self.real) + sampled + 2 * config.straightness_images
        self.done = sum(unit.rows for unit in out.units().values())
        self._models: dict[str, TextToImage] = {}

    def cells(self) -> list[Cell]:
        """All cells; a model comes after the one that it is compared with, which takes ``teacher_steps``."""
        config, most = self.config, self.config.teacher_steps
        steps = [most, *sorted({*config.steps} - {most}, reverse=True)]
        cells = [Cell("teacher", n, config.teacher_guidance, config.teacher_solver) for n in steps]
        cells += [Cell("2-rf", n, config.rectified_guidance, "euler") for n in steps]
        return cells + [Cell(name, 1, 1.0, "euler") for name in ("student", "direct") if ROLES[name] in self.inputs]

    def model(self, name: str) -> TextToImage:
        """A model by its name in the table."""
        if name not in self._models:
            self._models[name] = load_model(self.inputs[ROLES[name]])
        return self._models[name]

    def shards(self) -> list[range]:
        """The evaluated pictures by number, in shards."""
        count, size = self.config.num_images, self.config.shard_size
        return [range(start, min(start + size, count)) for start in range(0, count, size)]

    def prompts(self, pictures: range) -> list[str]:
        """The captions of pictures; there may be more pictures than captions."""
        return [self.captions[i % len(self.captions)].text for i in pictures]

    def sample(self, cell: Cell, pictures: range) -> Sampled:
        """The cell's samples; the same noise and captions for every cell."""
        return sample(
            self.model(cell.model),
            cell,
            self.prompts(pictures),
            seeds_of(self.config.seed, pictures),
            self.judges,
            self.perf.sample_batch_size,
            self.advance,
        )

    def advance(self, pictures: int) -> None:
        """Tell the progress how many more pictures are done."""
        self.done += pictures
        self.progress(self.done, self.total, "images")
        stopping.check()

    def unit(self, name: str, pictures: int, make: Callable[[], tuple[dict[str, Tensor], dict[str, float]]]) -> None:
        """Commit a unit of tensors and numbers about so many pictures unless it is there."""
        if name in self.out.units():
            return
        started = time.monotonic()
        tensors, metrics = make()
        path = self.out.workdir / f"{name}.safetensors"
        save_file(tensors, path)
        self.out.commit_unit(
            name,
            {path.name: path},
            rows=pictures,
            seconds=time.monotonic() - started,
            metrics=metrics,
        )

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A committed unit's tensors."""
        return load_file(self._file(name))

    def statistics(self, name: str) -> list[dict[str, Tensor]]:
        """The statistics of every shard of a cell; its latents and pictures stay on the disk."""
        return [_without(PICTURES, self._file(shard_id(name, number))) for number in range(len(self.shards()))]

    def _file(self, name: str) -> Path:
        return self.out.fetch(self.out.units()[name].files[0])


def shard_id(name: str, number: int) -> str:
    """The unit's id, e.g. ``2-rf-4.00000``."""
    return f"{name}.{number:05d}"


def _without(names: Collection[str], path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name not in names}


def _moments(shards: Iterable[Mapping[str, Tensor]]) -> Moments:
    return functools.reduce(Moments.merge, map(Moments.from_tensors, shards))


def evaluate(
    config: EvaluateJob, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit a unit per shard of a cell, then ``metrics.json`` and ``.parquet``, pictures and paths for the report."""
    run = Evaluation(config, inputs, out, perf, progress)
    run.advance(0)
    for number, pictures in enumerate(run.shards()):
        real = run.real[pictures.start : pictures.stop]
        run.unit(shard_id("coco", number), len(real), functools.partial(_real_pictures, run, real))
        run.unit(shard_id("reference", number), len(pictures), functools.partial(_reference, run, pictures))
    for cell in run.cells():
        for number, pictures in enumerate(run.shards()):
            make = functools.partial(_shard, run, cell, number, pictures)
            run.unit(shard_id(cell.name, number), len(pictures), make)
    for name in ("teacher", "2-rf"):
        make = functools.partial(_straightness, run, name)
        run.unit(f"straightness-{name}", config.straightness_images, make)
    records = _records(run)
    _commit_results(run, records)
    return StageResult(metrics={"records": len(records)}, seeds={"evaluate": config.seed})


def _judges(config: EvaluateJob, inputs: Mapping[str, Source]) -> Judges:
    mini = inputs["clip"].folder("clip") if "clip" in inputs else None
    architecture = str(mini) if config.clip.architecture == "mini" else config.clip.architecture
    try:
        clip = load_clip(architecture, config.clip.weights)
        features = _features(config, mini, clip)
    except FileNotFoundError as error:
        raise UserError(f"evaluate: {error}") from error
    return Judges(features, clip, config.clip.prompt_prefix, load_reader(mini) if mini else None)


def _features(config: EvaluateJob, mini: Path | None, clip: Clip) -> Features | None:
    if config.features == "inception":
        return inception_features(Path(config.inception_weights or ""))
    return None if config.clip.architecture == "mini" else load_clip(str(mini), None).image_features


def _real_pictures(run: Evaluation, names: list[str]) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments of the real pictures, cut and resized like the generated ones."""
    moments, size = Moments(), run.model("teacher").pixels_per_side
    batch = run.perf.sample_batch_size
    for start in range(0, len(names), batch):
        pictures = torch.stack([read_image(run.images / name, size) for name in names[start : start + batch]])
        moments.update(run.judges.look(pictures)[0])
        run.advance(len(pictures))
    return moments.to_tensors(), {}


def _reference(run: Evaluation, pictures: range) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments of pictures of the teacher that no model is sampled for: the next captions, other seeds."""
    count = run.config.num_images
    others = range(count + pictures.start, count + pictures.stop)
    return run.sample(run.cells()[0], others).moments.to_tensors(), {}


def _shard(run: Evaluation, cell: Cell, number: int, pictures: range) -> tuple[dict[str, Tensor], dict[str, float]]:
    """A shard of a cell; the first also has the pictures for the contact sheet, and how fast they are drawn."""
    own_teacher = _own_teacher(run, cell)
    latents = run.tensors(shard_id(own_teacher, number))["latents"] if own_teacher else None
    sampled = run.sample(cell, pictures)
    tensors = sampled.to_tensors(latents)
    if cell.steps == run.config.teacher_steps:
        tensors["latents"] = sampled.latents  # others are compared with these
    if number > 0:
        return tensors, {}
    timings = speed(run.model(cell.model), cell, run.prompts(pictures), run.perf)
    return {**tensors, "contact": sampled.contact}, timings


def _own_teacher(run: Evaluation, cell: Cell) -> str | None:
    """Whose pictures the cell's should equal: the student's teacher is the 2-RF, everybody else's the teacher."""
    name = f"{'2-rf' if cell.model == 'student' else 'teacher'}-{run.config.teacher_steps}"
    return None if name == cell.name else name


def _straightness(run: Evaluation, name: str) -> tuple[dict[str, Tensor], dict[str, float]]:
    """S per element of the guided field, Euler with ``teacher_steps`` steps, and a few of its paths."""
    config, model = run.config, run.model(name)
    guidance = config.teacher_guidance if name == "teacher" else config.rectified_guidance
    velocity, values, paths = model.velocity(guidance), [], None
    for start in range(0, config.straightness_images, run.perf.sample_batch_size):
        indices = range(start, min(start + run.perf.sample_batch_size, config.straightness_images))
        noise = sample_noise(seeds_of(config.seed, indices), model.latent_shape).to(model.device)
        text = model.encode(run.prompts(indices))
        s, path = straightness(velocity, noise, text, config.teacher_steps)
        values.append(s)
        run.advance(len(noise))
        paths = torch.stack([x[:PATHS] for x in path], dim=1) if paths is None else paths
    assert paths is not None
    return {"paths": paths.float().cpu()}, {"straightness": float(torch.cat(values).mean())}


def _records(run: Evaluation) -> list[Measured]:
    """One record per cell, after the floor: the teacher against itself on two disjoint sets of pictures."""
    units = run.out.units()
    reference, real = _moments(run.statistics("reference")), _moments(run.statistics("coco"))
    straight = {name: units[f"straightness-{name}"].metrics["straightness"] for name in ("teacher", "2-rf")}

    def record(cell: Cell) -> Measured:
        shards = run.statistics(cell.name)
        moments = _moments(shards)
        return Measured.model_validate(
            {
                "model": cell.model,
                "steps": cell.steps,
                "guidance": cell.guidance,
                "solver": cell.solver,
                "num_images": run.config.num_images,
                "frechet_distance": frechet_distance(moments, reference),
                "frechet_distance_coco": frechet_distance(moments, real),
                "straightness": straight.get(cell.model) if cell.steps == run.config.teacher_steps else None,
                **means(shards),
                **units[shard_id(cell.name, 0)].metrics,
            }
        )

    records = [record(cell) for cell in run.cells()]
    cost = ("straightness", "distance_to_own_teacher", "seconds_per_image", "images_per_second")
    return [records[0].model_copy(update={"model": "floor", **dict.fromkeys(cost)}), *records]


def _commit_results(run: Evaluation, records: list[Measured]) -> None:
    """The tables (volatile: they hold timings) and what the report draws."""
    folder, cells = run.out.workdir, run.cells()
    metrics = Metrics(
        schema_version=1,
        protocol=protocol(run.config, run.inputs, run.annotations, run.model("teacher")),
        records=tuple(records),
    )
    (folder / "metrics.json").write_text(metrics.model_dump_json(indent=2) + "\n")
    table = pa.Table.from_pylist([record.model_dump() for record in records], schema=parquet_schema())
    pq.write_table(table, folder / "metrics.parquet")
    contact = {cell.name: run.tensors(shard_id(cell.name, 0))["contact"] for cell in cells}
    save_file(contact, folder / "contact.safetensors")
    prompts = run.prompts(run.shards()[0])[:CONTACT_PICTURES]
    (folder / "contact.json").write_text(json.dumps({"prompts": prompts}, indent=2) + "\n")
    paths = {name: run.tensors(f"straightness-{name}")["paths"] for name in ("teacher", "2-rf")}
    save_file(paths, folder / "paths.safetensors")
    names = ("metrics.json", "metrics.parquet", "contact.safetensors", "contact.json", "paths.safetensors")
    run.out.commit_unit("results", {name: folder / name for name in names}, volatile=names[:2])
