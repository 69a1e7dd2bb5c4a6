"""Stage `evaluate`: every model at every number of steps, on the captions of a COCO split."""

import functools
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import JsonValue
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.artifact.manifest import UnitRecord
from models.judges.pixels import pictures_at
from models.pipelines.text_to_image import Sampler, TextToImage
from models.resizing import Resize
from models.solvers import straightness
from tasks.batches import Batches
from tasks.data.drawn import paired
from tasks.data.load import load_model
from tasks.data.picture_batches import picture_batches
from tasks.data.world import is_miniature
from tasks.evaluate import load
from tasks.evaluate.cells import (
    SPEED,
    Cell,
    cells,
    first_of,
    guidance_of,
    shard_id,
    shards,
    simulated,
    straightness_id,
)
from tasks.evaluate.compared import Compared, Pairs
from tasks.evaluate.independence import require_independent
from tasks.evaluate.judges import load_judges
from tasks.evaluate.load import Others
from tasks.evaluate.measure import CONTACT_PICTURES, Sampled, seeds_of
from tasks.evaluate.measured import Measured, Metrics
from tasks.evaluate.protocol import Counts, protocol
from tasks.evaluate.real import Real
from tasks.evaluate.real_set import captions_of
from tasks.evaluate.reductions import Reduced, numbers
from tasks.evaluate.speed import Draw, latencies, rates
from tasks.evaluate.statistics import Judges, Seen
from tasks.order import sample_noise
from tasks.roles import FLOOR, Role
from tasks.sections import EvaluateJob
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import Group, Unit

PATHS = 4
"""Simulated latent paths kept for the report."""

PICTURES = ("latents", "contact")
"""What a shard holds beside its statistics."""

Made = dict[str, Tensor]
"""The tensors of a unit."""


class Evaluation(StageWork[EvaluateJob]):
    """Commits a unit per shard of a cell, then ``metrics.json`` and ``.parquet``, pictures and paths for the report."""

    def __init__(self, work: Work[EvaluateJob]) -> None:
        super().__init__(work)
        self.annotations = self.inputs["coco"].folder("coco") / self.config.coco.annotations
        self.captions = captions_of(self.config, self.annotations)
        require_independent(self.inputs, self.config)
        self.real = Real(self.inputs, self.config)
        self.cells, self.shards = cells(self.config, self.inputs), shards(self.config)
        self.simulated = simulated(self.config, self.inputs)
        self.batches = Batches(work.performance.sample_batch_size)
        self._records: dict[str, UnitRecord] = {}
        self._models: dict[str, TextToImage] = {}

    def make(self, group: Group) -> None:
        """Measure a shard of pictures, or the straightness of a model."""
        self._records = self._records or self.out.units()  # once: what is committed from then on is our own
        for unit in group:
            if unit.id not in self._records:
                self._commit(unit, self._makers[unit.id])

    def finish(self, units: Units) -> StageResult:
        """The table, and what the report draws."""
        self._records = dict(units)
        records = self._table()
        self._commit_results(records)
        return StageResult(metrics={"records": len(records)}, seeds={"evaluate": self.config.seed})

    @cached_property
    def _makers(self) -> dict[str, Callable[[], Made]]:
        """What makes each unit."""
        found: dict[str, Callable[[], Made]] = {SPEED: self._speed}
        for number, pictures in enumerate(self.shards):
            others = range(self.config.num_images + pictures.start, self.config.num_images + pictures.stop)
            found[shard_id("reference", number)] = functools.partial(self._reference, others)
            for cell in self.cells:
                found[shard_id(cell.name, number)] = functools.partial(self._shard, cell, number, pictures)
        return found | {straightness_id(role): functools.partial(self._straightness, role) for role in self.simulated}

    def _commit(self, unit: Unit, make: Callable[[], Made]) -> None:
        started, before = time.monotonic(), self.work.done
        tensors = make()
        path, seconds = self.out.workdir / f"{unit.id}.safetensors", time.monotonic() - started
        save_file(tensors, path)
        volatile = (path.name,) if unit.id == SPEED else ()
        self._records[unit.id] = self.out.commit_unit(
            unit.id, {path.name: path}, rows=self.work.done - before, seconds=seconds, volatile=volatile
        )

    def model(self, role: Role) -> TextToImage:
        """The model of a role, loaded when it is first needed."""
        if role.name not in self._models:
            self._models[role.name] = load_model(self.inputs[role.input])
        return self._models[role.name]

    @property
    def first(self) -> TextToImage:
        """The model of the first role: the teacher whose pictures are the reference."""
        return self.model(self.cells[0].role)

    @cached_property
    def drawn(self) -> list[Path]:
        """The files of pictures that were drawn elsewhere, by caption."""
        folder = self.inputs[self.cells[0].role.input].folder("pictures")
        return paired(folder, [caption.file_name for caption in self.captions[: self.config.num_images]])

    @cached_property
    def judges(self) -> Judges:
        """The networks that look at the pictures. Raises UserError for weights that are not there."""
        return load_judges(self.config, self.inputs, is_miniature(self.annotations))

    @cached_property
    def resize(self) -> Resize:
        """How generated pictures come to the size that the real ones were judged at."""
        return Resize(self.real.size, self.config.pictures.filter, self.config.pictures.antialias)

    def prompts(self, pictures: range) -> list[str]:
        """The captions of pictures."""
        return [caption.text for caption in self.captions[pictures.start : pictures.stop]]

    def sample(self, cell: Cell, pictures: range) -> Sampled:
        """The cell's samples; the same noise and captions for every cell."""
        sampled = Sampled()
        if cell.solver is None:
            return self._read(sampled, pictures)
        model, sample = self.model(cell.role), self._sampler(cell)

        def drawn(batch: range) -> tuple[Seen, Tensor]:
            noise = sample_noise(seeds_of(self.config.seed, batch), model.latent_shape)
            latent = sample(noise, self.prompts(batch))
            return self._seen(pictures_at(model.decode(latent), self.resize), batch), latent

        for seen, latent in self.batches(pictures, drawn):
            sampled.add(seen, latent)
            self.work.advance(len(latent))
        return sampled

    def _seen(self, pictures: Tensor, numbers: range) -> Seen:
        return Seen.of(self.judges, pictures, self.prompts(numbers), self.real.texts[numbers.start : numbers.stop])

    def _read(self, sampled: Sampled, pictures: range) -> Sampled:
        """Pictures that were drawn elsewhere, as if they were samples."""
        paths, size = self.drawn[pictures.start : pictures.stop], self.work.performance.sample_batch_size
        start = pictures.start
        for read in picture_batches(paths, self.resize, size):
            sampled.add(self._seen(read, range(start, start + len(read))), None)
            self.work.advance(len(read))
            start += len(read)
        return sampled

    def _reference(self, others: range) -> Made:
        """Pictures of the teacher that no model is sampled for: other captions, other seeds."""
        return self.sample(self.cells[0], others).to_tensors({})

    def _shard(self, cell: Cell, number: int, pictures: range) -> Made:
        """A shard of a cell; the first also has the pictures for the contact sheet."""
        teachers = {"own_distances": cell.role.own_teacher, "teacher_distances": self.cells[0].role.name}
        firsts = {name: first_of(role, self.cells) for name, role in teachers.items() if cell.role.own_teacher and role}
        compared = {
            name: self._tensor(shard_id(other.name, number), "latents")
            for name, other in firsts.items()
            if other != cell
        }
        sampled = self.sample(cell, pictures)
        tensors = sampled.to_tensors(compared)
        if firsts and cell.steps == self.config.teacher_steps:
            tensors["latents"] = sampled.latents  # others are compared with these
        return {**tensors, "contact": sampled.contact} if number == 0 else tensors

    def _speed(self) -> Made:
        """The times of all cells, `latency.CELL` and `rate.CELL`, and the `load` that they were measured under."""
        draws = {cell.name: self._draw(cell) for cell in self.cells if cell.solver}
        prompts, sizes = self.prompts(self.shards[0]), self.work.performance.throughput_batch_sizes
        others = Others()
        found = {f"latency.{name}": one for name, one in latencies(draws, prompts, self.work.advance).items()}
        found |= {f"rate.{name}": one for name, one in rates(draws, prompts, sizes).items()}
        return {**found, "load": others.load()}

    def _draw(self, cell: Cell) -> Draw:
        model, sample = self.model(cell.role), self._sampler(cell)

        def draw(prompts: Sequence[str]) -> Tensor:
            noise = sample_noise(seeds_of(self.config.seed, range(len(prompts))), model.latent_shape)
            return model.decode(sample(noise, prompts))

        return draw

    def _sampler(self, cell: Cell) -> Sampler:
        assert cell.steps is not None and cell.guidance is not None and cell.solver is not None
        return self.model(cell.role).sampler(cell.steps, cell.guidance, cell.solver)

    def _straightness(self, role: Role) -> Made:
        """S per element of the guided field, Euler with ``teacher_steps`` steps, and a few of its paths."""
        config, model, values, paths = self.config, self.model(role), list[Tensor](), list[Tensor]()
        velocity = model.velocity(guidance_of(role, config))

        def followed(indices: range) -> Tensor:
            noise = sample_noise(seeds_of(config.seed, indices), model.latent_shape).to(model.device)
            s, path = straightness(velocity, noise, model.encode(self.prompts(indices)), config.teacher_steps)
            missing = max(0, PATHS - len(paths))
            paths.extend(torch.stack([x[:missing] for x in path], dim=1).float().cpu())
            return s

        for s in self.batches(range(config.straightness_images), followed):
            values.append(s)
            self.work.advance(len(s))
        return {"paths": torch.stack(paths), "straightness": torch.cat(values).double().cpu()}

    def _tensor(self, unit: str, name: str) -> Tensor:
        with safe_open(self._file(unit), "pt") as file:
            found: Tensor = file.get_tensor(name)
            return found

    def _columns(self, name: str) -> dict[str, Tensor]:
        """The statistics of all pictures of a cell; its latents and pictures stay on the disk."""
        shards = [_without(PICTURES, self._file(shard_id(name, number))) for number in range(len(self.shards))]
        return {column: torch.cat([shard[column] for shard in shards]) for column in shards[0]}

    def _file(self, unit: str) -> Path:
        return self.out.fetch(self._records[unit].files[0])

    def _table(self) -> list[Measured]:
        """One record per cell, after the floor: what stands between two disjoint sets of pictures of one kind."""
        reference = self._columns("reference") if self.config.reference != "none" else None
        compared = Compared(self.config, self.real, reference["features"] if reference else None)
        records = []
        for cell in self.cells:
            columns = self._columns(cell.name) | self._measured(cell)
            records.append(self._record(cell, cell.role.name, columns, compared.of(columns)))
            if cell == self.cells[0] and reference:
                records.insert(0, self._record(cell, FLOOR, reference, compared.floor(columns)))
        return records

    def _measured(self, cell: Cell) -> dict[str, Tensor]:
        """What was measured of a cell beside its pictures: times, and S for a model at its most steps."""
        timed = ("latency", "rate") if cell.solver else ()
        found = {name: self._tensor(SPEED, f"{name}.{cell.name}") for name in timed}
        has_path = cell.role in self.simulated and self.config.teacher_steps > 1  # a single step is straight
        if has_path and cell == first_of(cell.role.name, self.cells):
            found["straightness"] = self._tensor(straightness_id(cell.role), "straightness")
        return found

    def _record(self, cell: Cell, name: str, columns: Mapping[str, Tensor], compared: Pairs) -> Measured:
        told = {"model": name, "steps": cell.steps, "guidance": cell.guidance, "solver": cell.solver}
        counted = {"num_images": self.config.num_images, **numbers(Reduced(columns, compared))}
        return Measured.model_validate({**told, **counted})

    def _protocol(self) -> dict[str, JsonValue]:
        of = self.drawn if self.cells[0].solver is None else self.first
        counts = Counts(len(self.captions), self.real.pictures)
        told = protocol(self.config, self.inputs, self.annotations, counts, of, self.resize)
        return {**told, "load": self._load()}

    def _load(self) -> JsonValue:
        """What else the machine did while it was timed; None where nothing was, and in units of older versions."""
        if SPEED not in self._records:
            return None
        with safe_open(self._file(SPEED), "pt") as file:
            return load.told(file.get_tensor("load")) if "load" in file.keys() else None  # noqa: SIM118  # no mapping

    def _commit_results(self, records: list[Measured]) -> None:
        """The tables (volatile: they hold timings) and what the report draws."""
        folder = self.out.workdir
        metrics = Metrics(
            schema_version=2,
            protocol=self._protocol(),
            records=tuple(records),
        )
        (folder / "metrics.json").write_text(metrics.model_dump_json(indent=2) + "\n")
        table = pa.Table.from_pylist([record.model_dump() for record in records], schema=parquet_schema())
        pq.write_table(table, folder / "metrics.parquet")
        contact = {cell.name: self._tensor(shard_id(cell.name, 0), "contact") for cell in self.cells}
        save_file(contact, folder / "contact.safetensors")
        prompts = self.prompts(self.shards[0])[:CONTACT_PICTURES]
        (folder / "contact.json").write_text(json.dumps({"prompts": prompts}, indent=2) + "\n")
        paths = {role.name: self._tensor(straightness_id(role), "paths") for role in self.simulated}
        save_file(paths, folder / "paths.safetensors")
        names = ("metrics.json", "metrics.parquet", "contact.safetensors", "contact.json", "paths.safetensors")
        self.out.commit_unit("results", {name: folder / name for name in names}, volatile=names[:2])


def parquet_schema() -> pa.Schema:
    """The columns of `metrics.parquet`: typed also where every value is absent."""
    types = {"model": pa.string(), "solver": pa.string(), "steps": pa.int64(), "num_images": pa.int64()}
    return pa.schema([(name, types.get(name, pa.float64())) for name in Measured.model_fields])


def _without(names: Collection[str], path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name not in names}
