"""Stage `pairs`: noise -> latent by a model's own ODE, as WebDataset shards with a Parquet index."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from infra.artifact.manifest import UnitRecord
from infra.errors import UserError
from infra.shards.shards import (
    QuarantineRow,
    Sample,
    index_schema,
    quarantine_schema,
    write_index,
    write_quarantine,
    write_shard,
)
from models.pipelines.text_to_image import TextToImage
from tasks.batches import Batches
from tasks.data.load import load_model
from tasks.data.looks import Look
from tasks.data.part_prompts import PartPrompts, Prompt
from tasks.order import derive_seed, sample_noise
from tasks.sections import PairsJob
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import Group, shard_number

PICTURE = ".webp"
"""Beside the first shard: its first pictures; beside what is quarantined: the first of those."""
_SCHEMAS = {"index": index_schema, "quarantine": quarantine_schema}


@dataclass
class Tally:
    """Where the time of a shard went, in seconds, and what its prompts lost."""

    seconds: float = 0.0
    teacher_s: float = 0.0
    truncated_prompts: int = 0
    quarantined: int = 0


@dataclass
class Checked:
    """What became of a shard's samples: those not fit to be trained on, and the first latents of both kinds."""

    max_abs_latent: float
    rejected: list[QuarantineRow] = field(default_factory=list)
    kept: Look = field(default_factory=Look)
    set_aside: Look = field(default_factory=Look)

    def good(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """The samples fit to be trained on; the others are rejected with a reason."""
        for sample in samples:
            latent = torch.from_numpy(sample.latent)
            reason = quarantine_reason(latent, self.max_abs_latent)
            if reason is None:
                self.kept.see(latent)
                yield sample
            else:
                self.set_aside.see(latent)
                self.rejected.append(QuarantineRow(sample.index, sample.key, sample.prompt, sample.seed, reason))


class SolvePairs(StageWork[PairsJob]):
    """Commits one unit per shard (tar, index, what is quarantined, a look at it) and at the end both tables merged.

    A sample is a function of its prompt's index: noise from its own seed, so neither batch size nor restarts matter.
    """

    def __init__(self, work: Work[PairsJob]) -> None:
        super().__init__(work)
        self.prompts = PartPrompts(self.inputs["prompts"], self.config.part)
        counted = self.config.model_copy(update={"samples": len(self.prompts)})
        work.extent = work.stage.extent(counted, self.inputs)
        self.batches = Batches(work.performance.sample_batch_size)

    @cached_property
    def model(self) -> TextToImage:
        """What is solved. Raises UserError when it has no such solver."""
        model = load_model(self.inputs["teacher"], self.config.dtype)
        try:
            model.check_solver(self.config.solver)
        except ValueError as error:
            raise UserError(f"pairs.solver: {error}") from error
        return model

    def make(self, group: Group) -> None:
        """Solve and commit one shard."""
        (unit,) = group
        started, tally, checked = time.monotonic(), Tally(), Checked(self.config.max_abs_latent)
        tar, index, quarantine = self._files(unit.id)
        rows = write_shard(tar, checked.good(self._solve(self._prompts_of(unit.id), tally)))
        write_index(index, rows)
        if checked.rejected:
            write_quarantine(quarantine, checked.rejected)
        pictures = [
            *(checked.kept.draw(self.model, tar.with_suffix(PICTURE)) if shard_number(unit.id) == 0 else ()),
            *checked.set_aside.draw(self.model, quarantine.with_suffix(PICTURE)),
        ]
        tally.seconds = time.monotonic() - started
        tally.quarantined = len(checked.rejected)
        counts = {tar: len(rows), index: len(rows), **({quarantine: tally.quarantined} if checked.rejected else {})}
        self.out.behind(partial(self._commit, unit.id, counts, pictures, tally))

    def _commit(self, unit: str, counts: Mapping[Path, int], pictures: Sequence[Path], tally: Tally) -> None:
        """Commit a shard, while the next one is solved: its files with the rows of each, the tar first."""
        made = self.out.commit_unit(
            unit,
            {path.name: path for path in (*counts, *pictures)},
            rows=next(iter(counts.values())),
            blob_rows={path.name: count for path, count in counts.items()},
            seconds=tally.seconds,
            metrics={
                "quarantined": tally.quarantined,
                "truncated_prompts": tally.truncated_prompts,
                "teacher_s": tally.teacher_s,
            },
            volatile=[path.name for path in pictures],
        )
        files = {file.name: file for file in made.files}
        for path in (*counts, *pictures):
            if path.suffix == ".parquet":  # the end merges them
                self.out.keep(files[path.name], path)
            path.unlink()

    def _files(self, unit: str) -> tuple[Path, Path, Path]:
        folder = self.out.workdir
        return folder / f"{unit}.tar", folder / f"{unit}.index.parquet", folder / f"{unit}.quarantine.parquet"

    def _prompts_of(self, unit: str) -> list[Prompt]:
        start = shard_number(unit) * self.config.shard_size
        return self.prompts[start : start + self.config.shard_size]

    def _solve(self, prompts: Sequence[Prompt], tally: Tally) -> Iterator[Sample]:
        """The shard's samples, batch by batch, checked by nobody yet."""
        for samples in self.batches(range(len(prompts)), partial(self._solved, prompts, tally)):
            yield from samples
            self.work.advance(len(samples))

    def _solved(self, prompts: Sequence[Prompt], tally: Tally, rows: range) -> list[Sample]:
        config, model, batch = self.config, self.model, prompts[rows.start : rows.stop]
        texts = [text for _, text in batch]
        seeds = [derive_seed(config.seed, "pairs", config.part, config.round, index) for index, _ in batch]
        noise = sample_noise(seeds, model.latent_shape)
        started = time.monotonic()
        latent = model.sample(noise, texts, config.steps, config.guidance, config.solver)
        tally.teacher_s += time.monotonic() - started
        tally.truncated_prompts += model.truncated(texts)
        return [
            Sample(f"{index:09d}", noise[row].numpy(), latent[row].numpy(), text, seed, index)
            for row, ((index, text), seed) in enumerate(zip(batch, seeds, strict=True))
        ]

    def finish(self, units: Units) -> StageResult:
        """Merge the shards' indexes into one, so that a reader opens one file; sum up what the shards counted."""
        shards = list(units.values())
        for kind in self.work.extent.merged:  # merged even where it is there: a shard may have been redone since
            self._merge(kind, shards)
        totals = {
            name: sum(float(shard.metrics[name]) for shard in shards)
            for name in ("quarantined", "truncated_prompts", "teacher_s")
        }
        self._require_any(shards, totals["quarantined"])
        counts = {"pairs": sum(shard.rows for shard in shards), "shards": len(shards)}
        seconds = sum(shard.seconds for shard in shards)
        return StageResult(metrics={**totals, **counts, "seconds": seconds}, seeds={"pairs": self.config.seed})

    def _merge(self, kind: str, shards: Sequence[UnitRecord]) -> None:
        files = [file for shard in shards for file in shard.files if file.name.endswith(f".{kind}.parquet")]
        path = self.out.workdir / f"{kind}.parquet"
        tables = [pq.read_table(self.out.fetch(file)) for file in files]
        merged = pa.concat_tables([_SCHEMAS[kind]().empty_table(), *tables])
        pq.write_table(merged, path)
        self.out.commit_unit(kind, {path.name: path}, blob_rows={path.name: merged.num_rows})

    def _require_any(self, shards: Sequence[UnitRecord], quarantined: float) -> None:
        if not any(shard.rows for shard in shards):
            raise UserError(
                f"pairs: all {quarantined:g} samples are quarantined (column reason in "
                f"{self.out.store.url}/{self.out.base}/data/quarantine-*.parquet); expected a teacher whose latents are"
                f" finite and below pairs.max_abs_latent ({self.config.max_abs_latent:g}). Check the teacher and"
                " pairs.guidance, or raise the limit."
            )


def quarantine_reason(latent: Tensor, max_abs_latent: float) -> str | None:
    """Why a latent must not be trained on: ``not_finite``, ``out_of_range``, ``constant``; None when it is sound."""
    if not bool(latent.isfinite().all()):
        return "not_finite"
    if float(latent.abs().max()) > max_abs_latent:
        return "out_of_range"
    return "constant" if float(latent.std()) < 1e-4 else None
