"""Stage `pairs`: noise -> latent by a model's own ODE, as WebDataset shards with a Parquet index."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from pydantic import JsonValue
from torch import Tensor

from infra import stopping
from infra.artifact import Draft, Source
from infra.errors import UserError
from infra.manifest import FileRecord, UnitRecord
from infra.recipe import Performance
from infra.shards import QuarantineRow, Sample, write_index, write_quarantine, write_shard
from models.text_to_image import TextToImage
from tasks.jobs import PairsJob
from tasks.load import load_model
from tasks.order import derive_seed, sample_noise
from tasks.progress import Progress, part
from tasks.prompts import read_prompts
from tasks.stage import StageResult

Prompt = tuple[int, str]


@dataclass
class Tally:
    """Where the time of a shard went, in seconds, and what its prompts lost."""

    teacher_s: float = 0.0
    truncated_prompts: int = 0


def make_pairs(
    config: PairsJob, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit one unit per shard (tar, index, quarantine) and at the end the merged ``index.parquet``.

    A sample is a function of its prompt's index: noise from its own seed, so neither batch size nor restarts matter.
    Raises UserError when the model has no such solver.
    """
    prompts = read_prompts(inputs["prompts"], config.part)
    shards = [prompts[i : i + config.shard_size] for i in range(0, len(prompts), config.shard_size)]
    names = [f"shard-{number:06d}" for number in range(len(shards))]
    done = out.units()
    missing = [(name, shard) for name, shard in zip(names, shards, strict=True) if name not in done]
    if missing:
        model = _open(config, inputs["teacher"])
        finished = len(prompts) - sum(len(shard) for _, shard in missing)
        progress(finished, len(prompts), "pairs")
        for name, shard in missing:
            _make_shard(model, config, name, shard, out, perf, part(progress, finished, len(prompts)))
            finished += len(shard)
    return _finish(names, out, config)


def _open(config: PairsJob, teacher: Source) -> TextToImage:
    model = load_model(teacher, config.dtype)
    try:
        model.check_solver(config.solver)
    except ValueError as error:
        raise UserError(f"pairs.solver: {error}") from error
    return model


def _make_shard(
    model: TextToImage,
    config: PairsJob,
    name: str,
    prompts: list[Prompt],
    out: Draft,
    perf: Performance,
    progress: Progress,
) -> None:
    started, tally = time.monotonic(), Tally()
    rejected: list[QuarantineRow] = []
    tar, index, quarantine = (out.workdir / f"{name}.{kind}" for kind in ("tar", "index.parquet", "quarantine.parquet"))
    rows = write_shard(
        tar, _good(_solve(model, config, prompts, perf.sample_batch_size, tally, progress), config, rejected)
    )
    write_index(index, rows)
    write_quarantine(quarantine, rejected)
    seconds = time.monotonic() - started
    metrics = {
        "quarantined": len(rejected),
        "truncated_prompts": tally.truncated_prompts,
        "teacher_s": tally.teacher_s,
    }
    out.commit_unit(
        name,
        {tar.name: tar, index.name: index, quarantine.name: quarantine},
        rows=len(rows),
        blob_rows={tar.name: len(rows), index.name: len(rows), quarantine.name: len(rejected)},
        seconds=seconds,
        metrics=metrics,
    )
    for path in (tar, index, quarantine):
        path.unlink()


def _solve(
    model: TextToImage,
    config: PairsJob,
    prompts: list[Prompt],
    batch_size: int,
    tally: Tally,
    progress: Progress,
) -> Iterator[Sample]:
    """The shard's samples, batch by batch, checked by nobody yet."""
    for start in range(0, len(prompts), batch_size):
        batch = prompts[start : start + batch_size]
        texts = [text for _, text in batch]
        seeds = [derive_seed(config.seed, "pairs", config.part, index) for index, _ in batch]
        noise = sample_noise(seeds, model.latent_shape)
        tally.truncated_prompts += model.truncated(texts)
        started = time.monotonic()
        latent = model.sample(noise, texts, config.steps, config.guidance, config.solver)
        tally.teacher_s += time.monotonic() - started
        for row, ((index, text), seed) in enumerate(zip(batch, seeds, strict=True)):
            yield Sample(f"{index:09d}", noise[row].numpy(), latent[row].numpy(), text, seed, index)
        progress(min(start + batch_size, len(prompts)), len(prompts), "pairs")
        stopping.check()


def _good(samples: Iterator[Sample], config: PairsJob, rejected: list[QuarantineRow]) -> Iterator[Sample]:
    """The samples fit to be trained on; the others go to ``rejected`` with a reason."""
    for sample in samples:
        reason = quarantine_reason(torch.from_numpy(sample.latent), config.max_abs_latent)
        if reason is None:
            yield sample
        else:
            rejected.append(QuarantineRow(sample.index, sample.key, sample.prompt, sample.seed, reason))


def quarantine_reason(latent: Tensor, max_abs_latent: float) -> str | None:
    """Why a latent must not be trained on: ``not_finite``, ``out_of_range``, ``constant``; None when it is sound."""
    if not bool(latent.isfinite().all()):
        return "not_finite"
    if float(latent.abs().max()) > max_abs_latent:
        return "out_of_range"
    return "constant" if float(latent.std()) < 1e-4 else None


def _finish(names: list[str], out: Draft, config: PairsJob) -> StageResult:
    """Merge the shards' indexes into one, so that a reader opens one file; sum up what the shards counted."""
    units = out.units()
    shards = [units[name] for name in names]
    for kind in ("index", "quarantine"):  # merged even where it is there: a shard may have been redone since
        tables = [pq.read_table(out.fetch(_file(shard, f".{kind}.parquet"))) for shard in shards]
        path = out.workdir / f"{kind}.parquet"
        merged = pa.concat_tables(tables)
        pq.write_table(merged, path)
        out.commit_unit(kind, {path.name: path}, blob_rows={path.name: merged.num_rows})
    totals: dict[str, JsonValue] = {
        name: sum(float(shard.metrics[name]) for shard in shards)
        for name in ("quarantined", "truncated_prompts", "teacher_s")
    }
    if not any(shard.rows for shard in shards):
        raise UserError(
            f"pairs: all {totals['quarantined']} samples are quarantined (column reason in {out.store.url}/{out.base}"
            "/data/quarantine-*.parquet); expected a teacher whose latents are finite and below pairs.max_abs_latent "
            f"({config.max_abs_latent:g}). Check the teacher and pairs.guidance, or raise the limit."
        )
    seconds = sum(shard.seconds for shard in shards)
    metrics = {
        **totals,
        "pairs": sum(shard.rows for shard in shards),
        "shards": len(shards),
        "seconds": seconds,
    }
    return StageResult(metrics=metrics, seeds={"pairs": config.seed})


def _file(shard: UnitRecord, suffix: str) -> FileRecord:
    return next(file for file in shard.files if file.name.endswith(suffix))
