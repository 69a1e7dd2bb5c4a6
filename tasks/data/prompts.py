"""Stage `prompts`: a deterministic sample of distinct prompts, in disjoint parts for reflow and distillation."""

import time
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Source
from infra.errors import UserError
from models.mini.captions import caption
from models.mini.scene import draw_scene
from models.mini.scene import generator as scene_generator
from tasks.data.coco import read_captions
from tasks.data.inputs import as_artifact
from tasks.sections import PromptsJob
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Group

Counts = dict[str, int]
TRIES_PER_PROMPT = 40


class SamplePrompts(StageWork[PromptsJob]):
    """Commits ``prompts.parquet``: columns index (int64), part (``reflow`` or ``distill``), prompt."""

    def make(self, group: Group) -> None:
        """Draw the sample.

        Raises UserError when the source is missing, empty or not UTF-8, or holds too few distinct prompts.
        """
        started, config = time.monotonic(), self.config
        counts: Counts = {"read": 0, "empty": 0, "too_long": 0, "duplicate": 0, "evaluation_caption": 0}
        prompts = _sample(config, self.inputs, counts)
        parts = ["reflow"] * config.reflow_count + ["distill"] * config.distill_count
        path = self.out.workdir / "prompts.parquet"
        pq.write_table(pa.table({"index": range(len(prompts)), "part": parts, "prompt": prompts}), path)
        seconds, kept = time.monotonic() - started, len(prompts)
        self.out.commit_unit(
            "prompts", {"prompts.parquet": path}, rows=kept, seconds=seconds, metrics={**counts, "kept": kept}
        )
        self.work.advance(kept)

    def finish(self, units: Units) -> StageResult:
        """How many texts were read, and why some were not taken."""
        return StageResult(metrics=dict(units["prompts"].metrics), seeds={"prompts": self.config.seed})


def _sample(config: PromptsJob, inputs: Mapping[str, Source], counts: Counts) -> list[str]:
    wanted = config.reflow_count + config.distill_count
    excluded = {normalise(c.text) for c in read_captions(inputs["coco"].folder("coco") / config.coco.annotations)}
    candidates = list(
        distinct(_source(config, inputs), excluded, config.max_characters, counts, wanted, config.source == "mini")
    )
    if len(candidates) < wanted:
        raise UserError(
            f"prompts: source {config.path or config.source} holds {len(candidates)} usable prompts ({counts}); "
            f"reflow_count + distill_count = {wanted} expected. Lower the counts or give a larger source."
        )
    order = np.random.Generator(np.random.PCG64(config.seed)).permutation(len(candidates))[:wanted]
    return [candidates[i] for i in order]


def read_prompts(artifact: Source, part: str) -> list[tuple[int, str]]:
    """The (index, prompt) rows of one part of a prompts artifact."""
    table = pq.read_table(as_artifact(artifact).fetch("prompts.parquet"), filters=[("part", "=", part)])
    return list(zip(table["index"].to_pylist(), table["prompt"].to_pylist(), strict=True))


def normalise(text: str) -> str:
    """Unicode NFC, white space folded: what counts as the same prompt."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def distinct(
    texts: Iterable[str],
    excluded: set[str],
    max_characters: int,
    counts: Counts,
    wanted: int,
    stop_early: bool,
) -> Iterator[str]:
    """Each usable prompt once; ``counts`` says what was dropped and why. ``stop_early`` ends a source without end."""
    seen: set[str] = set()
    for text in texts:
        prompt = normalise(text)
        counts["read"] += 1
        reason = _refusal(prompt, excluded, seen, max_characters)
        if reason:
            counts[reason] += 1
            continue
        seen.add(prompt)
        yield prompt
        if stop_early and len(seen) == wanted:
            return


def _refusal(prompt: str, excluded: set[str], seen: set[str], max_characters: int) -> str | None:
    if not prompt:
        return "empty"
    if len(prompt) > max_characters:
        return "too_long"
    if prompt in excluded:
        return "evaluation_caption"
    return "duplicate" if prompt in seen else None


def _source(config: PromptsJob, inputs: Mapping[str, Source]) -> Iterator[str]:
    if config.source == "mini":
        return _grammar(config.seed, TRIES_PER_PROMPT * (config.reflow_count + config.distill_count))
    if config.source == "coco":
        given = Path(config.path) if config.path else None
        file = given or inputs["coco"].folder("coco") / "annotations" / "captions_train2017.json"
        return (c.text for c in read_captions(file))
    assert config.path is not None, "the recipe refuses a file source without a path"
    return _text_lines(Path(config.path)) if config.source == "text" else _column(Path(config.path), config.column)


def _grammar(seed: int, limit: int) -> Iterator[str]:
    for index in range(limit):
        rng = scene_generator(seed, index)
        yield caption(draw_scene(rng, held_out=False), rng)


def _text_lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8-sig") as lines:  # editors may put a byte order mark first
            yield from lines
    except (FileNotFoundError, IsADirectoryError) as error:
        raise UserError(
            f"prompts.path: no such file: {path}; expected a UTF-8 text file with one prompt per line"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"prompts.path: {path} is not UTF-8 ({error}); expected one prompt per line. Convert it first."
        ) from error


def _column(path: Path, column: str) -> Iterator[str]:
    if not path.is_file():
        raise UserError(f"prompts.path: no such file: {path}; expected a Parquet file with a column {column!r}")
    try:
        source = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise UserError(f"prompts.path: {path} is not a Parquet file: {error}") from error
    names = source.schema_arrow.names
    if column not in names:
        raise UserError(f"prompts.column: {path} has no column {column!r}; its columns are {', '.join(names)}")
    kind = source.schema_arrow.field(column).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise UserError(f"prompts.column: column {column!r} of {path} is of type {kind}; expected string")
    for batch in source.iter_batches(columns=[column]):
        yield from (text or "" for text in batch.column(0).to_pylist())
