"""Stage `evaluate`: every model at every number of steps, on the captions of a COCO split."""

import json
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.artifact import Draft, Source
from infra.errors import UserError
from infra.fingerprint import sha256_file
from infra.manifest import UnitRecord
from infra.recipe import Performance
from models.clip import load_clip
from models.metrics import Features, Moments, frechet_distance, inception_features
from models.mini.reader import load_reader
from models.solvers import straightness
from models.text_to_image import TextToImage
from tasks.coco import Caption, read_captions, read_image
from tasks.jobs import EvaluateJob
from tasks.load import load_model
from tasks.measure import CONTACT_PICTURES, Cell, Judges, Sampled, sample, scores, seeds_of, speed
from tasks.order import sample_noise
from tasks.progress import Progress
from tasks.stage import StageResult

ROLES = {"teacher": "teacher", "2-rf": "rectified", "student": "student", "direct": "direct"}
FIELDS = (
    "model",
    "steps",
    "guidance",
    "solver",
    "num_images",
    "frechet_distance",
    "frechet_distance_coco",
    "clip_score",
    "attribute_accuracy",
    "straightness",
    "distance_to_own_teacher",
    "seconds_per_image",
    "images_per_second",
)
"""The stable schema of a record; what does not apply is null."""

PATHS = 4
"""Simulated latent paths kept for the report."""

Record = dict[str, JsonValue]


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
        self.done, self.total = 0, (len(self.cells()) + 2) * config.num_images
        self._models: dict[str, TextToImage] = {}

    def cells(self) -> list[Cell]:
        """All cells; a model comes after the model it is compared with."""
        config, steps = self.config, sorted({*self.config.steps, self.config.teacher_steps}, reverse=True)
        cells = [Cell("teacher", n, config.teacher_guidance, config.teacher_solver) for n in steps]
        cells += [Cell("2-rf", n, config.rectified_guidance, "euler") for n in steps]
        return cells + [Cell(name, 1, 1.0, "euler") for name in ("student", "direct") if ROLES[name] in self.inputs]

    def model(self, name: str) -> TextToImage:
        """A model by its name in the table."""
        if name not in self._models:
            self._models[name] = load_model(self.inputs[ROLES[name]])
        return self._models[name]

    def prompts(self, half: int = 0) -> list[str]:
        """The captions of the evaluated pictures (half 0) or of the reference pictures (half 1), wrapping around."""
        return [self._caption(i).text for i in self._half(half)]

    def _caption(self, index: int) -> Caption:
        return self.captions[index % len(self.captions)]

    def _half(self, half: int) -> range:
        return range(half * self.config.num_images, (half + 1) * self.config.num_images)

    def sample(self, cell: Cell, half: int = 0) -> Sampled:
        """The cell's samples; the same noise and captions for every cell of a half."""
        seeds = seeds_of(self.config.seed, self._half(half))
        return sample(
            self.model(cell.model),
            cell,
            self.prompts(half),
            seeds,
            self.judges,
            self.perf.sample_batch_size,
            self.advance,
        )

    def advance(self, pictures: int) -> None:
        """Tell the progress how many more pictures are done."""
        self.done += pictures
        self.progress(self.done, self.total, "images")

    def unit(self, name: str, make: Callable[[], tuple[dict[str, Tensor], dict[str, float]]]) -> None:
        """Commit a unit of tensors and numbers unless it is there."""
        if name in self.out.units():
            return self.advance(self.config.num_images)
        started = time.monotonic()
        tensors, metrics = make()
        path = self.out.workdir / f"{name}.safetensors"
        save_file(tensors, path)
        self.out.commit_unit(
            name,
            {path.name: path},
            rows=self.config.num_images,
            seconds=time.monotonic() - started,
            metrics=metrics,
        )

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A committed unit's tensors."""
        return load_file(self.out.fetch(self.out.units()[name].files[0]))


def evaluate(
    config: EvaluateJob, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit a unit per cell, then ``metrics.json``, ``metrics.parquet`` and the pictures and paths for the report."""
    run = Evaluation(config, inputs, out, perf, progress)
    run.unit("coco", lambda: _real_pictures(run))
    reference = run.cells()[0]
    run.unit("reference", lambda: (run.sample(reference, half=1).moments.to_tensors(), {}))
    for cell in run.cells():
        run.unit(cell.name, lambda cell=cell: _cell(run, cell))  # type: ignore[misc]
    for name in ("teacher", "2-rf"):
        run.unit(f"straightness-{name}", lambda name=name: _straightness(run, name))  # type: ignore[misc]
    records = _records(run)
    _commit_results(run, records)
    return StageResult(metrics={"records": len(records)}, seeds={"evaluate": config.seed})


def _judges(config: EvaluateJob, inputs: Mapping[str, Source]) -> Judges:
    mini = inputs["clip"].folder("clip") if "clip" in inputs else None
    try:
        clip = load_clip(
            str(mini) if config.clip.architecture == "mini" else config.clip.architecture, config.clip.weights
        )
        features: Features = (
            load_clip(str(mini), None).image_features
            if config.features == "mini"
            else inception_features(Path(config.inception_weights or ""))
        )
    except FileNotFoundError as error:
        raise UserError(f"evaluate: {error}") from error
    return Judges(features, clip, config.clip.prompt_prefix, load_reader(mini) if mini else None)


def _real_pictures(run: Evaluation) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Moments of the real pictures, cut and resized like the generated ones."""
    moments, size = Moments(), run.model("teacher").pixels_per_side
    batch = run.perf.sample_batch_size
    names = [caption.file_name for caption in run.captions[: run.config.num_images]]
    for start in range(0, len(names), batch):
        pictures = torch.stack([read_image(run.images / name, size) for name in names[start : start + batch]])
        moments.update(run.judges.features(pictures))
        run.advance(len(pictures))
    return moments.to_tensors(), {}


def _cell(run: Evaluation, cell: Cell) -> tuple[dict[str, Tensor], dict[str, float]]:
    sampled, own_teacher = run.sample(cell), _own_teacher(run, cell)
    latents = run.tensors(own_teacher)["latents"] if own_teacher else None
    metrics = {
        **scores(sampled, run.prompts(), latents),
        **speed(run.model(cell.model), cell, run.prompts(), run.perf),
    }
    tensors = {**sampled.moments.to_tensors(), "contact": sampled.contact}
    if cell.steps == run.config.teacher_steps:
        tensors["latents"] = sampled.latents  # others are compared with these
    return tensors, metrics


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
        text = model.encode([run.prompts()[i % config.num_images] for i in indices])
        s, path = straightness(velocity, noise, text, config.teacher_steps)
        values.append(s)
        paths = torch.stack([x[:PATHS] for x in path], dim=1) if paths is None else paths
    assert paths is not None
    return {"paths": paths.float().cpu()}, {"straightness": float(torch.cat(values).mean())}


def _records(run: Evaluation) -> list[Record]:
    """One record per cell and one for the floor: the teacher against itself on two disjoint sets of pictures."""
    units = run.out.units()
    moments = {
        name: Moments.from_tensors(run.tensors(name)) for name in [c.name for c in run.cells()] + ["reference", "coco"]
    }
    curved = {name: units[f"straightness-{name}"].metrics["straightness"] for name in ("teacher", "2-rf")}

    def record(cell: Cell, unit: UnitRecord, model: str) -> Record:
        found: Record = dict.fromkeys(FIELDS)
        found |= {"model": model, "steps": cell.steps, "guidance": cell.guidance, "solver": cell.solver}
        found |= {"num_images": run.config.num_images, **unit.metrics}
        found["frechet_distance"] = frechet_distance(moments[cell.name], moments["reference"])
        found["frechet_distance_coco"] = frechet_distance(moments[cell.name], moments["coco"])
        if cell.steps == run.config.teacher_steps:
            found["straightness"] = curved.get(cell.model)
        return found

    teacher = run.cells()[0]
    floor: Record = {**dict.fromkeys(FIELDS), **record(teacher, units[teacher.name], "floor")}
    floor |= dict.fromkeys(("straightness", "distance_to_own_teacher", "seconds_per_image", "images_per_second"))
    return [floor] + [record(cell, units[cell.name], cell.model) for cell in run.cells()]


def _commit_results(run: Evaluation, records: list[Record]) -> None:
    """The tables (volatile: they hold timings) and what the report draws."""
    folder, cells = run.out.workdir, run.cells()
    content = {"schema_version": 1, "protocol": _protocol(run), "records": records}
    (folder / "metrics.json").write_text(json.dumps(content, indent=2) + "\n")
    pq.write_table(pa.Table.from_pylist(records), folder / "metrics.parquet")
    save_file({cell.name: run.tensors(cell.name)["contact"] for cell in cells}, folder / "contact.safetensors")
    (folder / "contact.json").write_text(json.dumps({"prompts": run.prompts()[:CONTACT_PICTURES]}, indent=2) + "\n")
    paths = {name: run.tensors(f"straightness-{name}")["paths"] for name in ("teacher", "2-rf")}
    save_file(paths, folder / "paths.safetensors")
    names = ("metrics.json", "metrics.parquet", "contact.safetensors", "contact.json", "paths.safetensors")
    run.out.commit_unit("results", {name: folder / name for name in names}, volatile=names[:2])


def _protocol(run: Evaluation) -> dict[str, Any]:
    """What stands beside every number (method, section 5)."""
    config, teacher = run.config, run.model("teacher")
    return {
        "captions": {
            "file": run.annotations.name,
            "sha256": sha256_file(run.annotations),
            "rule": "lowest annotation id per image",
        },
        "num_images": config.num_images,
        "seeds": f"per image: sha256 of '{config.seed}/evaluate/<index>'",
        "reference": f"teacher, {config.teacher_steps} steps, the next {config.num_images} captions, other seeds",
        "reference_coco": "the captions' own pictures; PIL Lanczos, centre crop on the long edge",
        "floor": "teacher against the reference: two disjoint sets of the teacher's own pictures",
        "straightness": f"per element, guided, Euler {config.teacher_steps} steps, N {config.straightness_images}",
        "distance_to_own_teacher": "mean squared per element of latents from the same noise; the student's teacher is "
        f"the 2-RF at {config.teacher_steps} steps",
        "dtype": str(teacher.pipeline.unet.dtype),
        "autoencoder": type(teacher.pipeline.vae).__name__,
        "pictures": "uint8, never JPEG",
        "safety_checker": "off",
        "size": teacher.pixels_per_side,
        "features": config.features,
        "features_digest": _digest(run, config.features == "mini", config.inception_weights),
        "clip": {
            "architecture": config.clip.architecture,
            "prompt_prefix": config.clip.prompt_prefix,
            "scale": "cosine x 1",
            "digest": _digest(run, config.clip.architecture == "mini", config.clip.weights),
        },
        "versions": {name: version(name) for name in ("torch", "diffusers", "open_clip_torch", "torch-fidelity")},
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {_accelerator()}",
    }


def _digest(run: Evaluation, mini: bool, weights: str | None) -> str:
    return run.inputs["clip"].digest if mini else sha256_file(Path(weights or ""))


def _accelerator() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
