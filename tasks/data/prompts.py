"""Stage `prompts`: a sample of distinct prompts in hash order, in disjoint parts for reflow and distillation."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from infra import stopping
from infra.artifact import Files
from infra.errors import UserError
from tasks.data.coco import read_all_captions
from tasks.data.near_duplicates import near_duplicates
from tasks.data.prompt_pieces import pieces
from tasks.data.prompt_reading import Reading
from tasks.data.prompt_sources import Piece, grammar
from tasks.data.prompt_text import folded
from tasks.order import derive_seed
from tasks.sections import PromptsJob
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import Group, Unit

TRIES_PER_PROMPT = 40
SPARE = 1.5
"""Candidates for each prompt that is wanted, at first: near duplicates are dropped from among them."""
_MEGABYTE = 1_000_000
_SCHEMA = pa.schema(
    {
        "index": pa.int64(),
        "part": pa.string(),
        "prompt": pa.string(),
        "source_file": pa.dictionary(pa.int32(), pa.string()),
        "source_row": pa.int64(),
    }
)
_ROWS, _GROUP = 1 << 16, 1 << 20
"""Prompts that are held while they are compared, and while they are written: a row group of Parquet."""


class SamplePrompts(StageWork[PromptsJob]):
    """Commits ``prompts.parquet``: index (int64), part (``reflow`` or ``distill``), prompt, source_file, source_row.

    Rows are in the order of a hash of seed and prompt: the first ones of a sample twice as large are the same.
    """

    def __init__(self, work: Work[PromptsJob]) -> None:
        super().__init__(work)
        self.wanted = self.config.reflow_count + self.config.distill_count
        if self.config.source != "mini":
            unit = Unit("prompts", math.ceil(sum(self.files.sizes.values()) / _MEGABYTE))
            work.extent = replace(work.extent, groups=((unit,),), piece="MB")

    @cached_property
    def files(self) -> Files:
        """What is read."""
        if self.config.path is not None:
            return Files.open(self.config.path)
        return Files.open(str(self.inputs["coco"].folder("coco") / self.config.TRAINING_CAPTIONS))

    @cached_property
    def pieces(self) -> list[Piece]:
        """The source. Raises UserError for what its headers and first lines tell."""
        if self.config.source == "mini":
            return grammar(derive_seed(self.config.seed, "prompts", "mini"), TRIES_PER_PROMPT * self.wanted)
        return pieces(self.config, self.files)

    def make(self, group: Group) -> None:
        """Draw the sample.

        Raises UserError when the source is missing, empty, damaged or not what the recipe says, or holds too few
        distinct prompts.
        """
        started = time.monotonic()
        candidates, chosen, counts = self._drawn()
        path = self.out.workdir / "prompts.parquet"
        self._write(path, candidates, chosen)
        seconds = time.monotonic() - started
        self.out.commit_unit("prompts", {path.name: path}, rows=self.wanted, seconds=seconds, metrics=counts)
        self.work.advance(self.work.total - self.work.done)

    def _drawn(self) -> tuple[pa.Table, NDArray[np.int64], dict[str, int]]:
        """The candidates, which of them are the sample, and what became of the other rows.

        Near duplicates take a share of the candidates that nobody knows before: when there are too few left, the
        source is read again for more. The sample is the same as with more from the start.
        """
        limit = self.wanted if self._similarity is None else math.ceil(SPARE * self.wanted)
        while True:
            read = self._read(limit)
            candidates = read.sample.table
            repeated = self._repeated(candidates["prompt"])
            good = np.flatnonzero(~repeated)
            if len(good) >= self.wanted:
                chosen = good[: self.wanted]
                return candidates, chosen, _account(read, repeated, int(chosen[-1]) + 1)
            if not read.sample.full:
                raise self._too_few(len(good), _account(read, repeated, len(candidates)))
            limit = math.ceil(SPARE * limit * self.wanted / max(1, len(good)))

    def _read(self, limit: int) -> Reading:
        """A pass over the source for so many candidates, from its latest checkpoint on."""
        total = max(1, sum(piece.size for piece in self.pieces))
        self.work.done = 0

        def told(size: float) -> None:
            self.work.advance(int(self.work.total * size / total) - self.work.done)

        reading = Reading.resumed(self.config, self._excluded, self.out, limit)
        reading.read(self.pieces, told, enough=self.config.source == "mini")
        return reading

    @cached_property
    def _excluded(self) -> frozenset[str]:
        """What the evaluation asks for, in every wording that its pictures have."""
        captions = read_all_captions(self.inputs["coco"].folder("coco") / self.config.coco.annotations)
        return frozenset(folded(one.text) for one in captions)

    @property
    def _similarity(self) -> float | None:
        return None if self.config.source == "mini" else self.config.near_duplicates

    def _repeated(self, prompts: pa.ChunkedArray) -> NDArray[np.bool_]:
        if self._similarity is None:
            return np.zeros(len(prompts), bool)
        done = 0

        def told(count: int) -> None:
            nonlocal done
            done += count
            self.work.progress(done, len(prompts), "prompts compared")
            stopping.check()

        texts = (text for start in range(0, len(prompts), _ROWS) for text in prompts.slice(start, _ROWS).to_pylist())
        return near_duplicates(texts, self._similarity, told)

    def _write(self, path: Path, candidates: pa.Table, chosen: NDArray[np.int64]) -> None:
        """A row group at a time, for that is what Parquet wants to be given."""
        with pq.ParquetWriter(path, _SCHEMA) as writer:
            for start in range(0, len(chosen), _GROUP):
                writer.write_table(self._rows(candidates, chosen[start : start + _GROUP], start), _GROUP)

    def _rows(self, candidates: pa.Table, chosen: NDArray[np.int64], start: int) -> pa.Table:
        """The rows of the sample from `start` on that these candidates are."""
        kept = candidates.select(["prompt", "file", "row"])
        around = kept.slice(chosen[0], chosen[-1] - chosen[0] + 1).combine_chunks()
        sample, indices = around.take(chosen - chosen[0]), np.arange(start, start + len(chosen))
        names = ["mini"] if self.config.source == "mini" else [*self.files.sizes]
        sources = pa.DictionaryArray.from_arrays(sample["file"].combine_chunks(), pa.array(names))
        return pa.table(
            {
                "index": pa.array(indices, pa.int64()),
                "part": np.where(indices < self.config.reflow_count, "reflow", "distill").tolist(),
                "prompt": sample["prompt"].cast(pa.string()),
                "source_file": sources,
                "source_row": sample["row"],
            }
        )

    def _too_few(self, usable: int, counts: dict[str, int]) -> UserError:
        said = ", ".join(f"{name} {count:,}" for name, count in counts.items() if count)
        remedy = " or loosen prompts.filters and prompts.near_duplicates" if self.config.source != "mini" else ""
        where = "mini" if self.config.source == "mini" else self.files.uri
        return UserError(
            f"prompts: source {where} holds {usable} usable prompts ({said or 'no rows'}); reflow_count + distill_count"
            f" = {self.wanted} expected. Lower the counts, give a larger source{remedy}."
        )

    def finish(self, units: Units) -> StageResult:
        """How many texts were read, and why some were not taken."""
        return StageResult(metrics=dict(units["prompts"].metrics), seeds={"prompts": self.config.seed})


def _account(read: Reading, repeated: NDArray[np.bool_], end: int) -> dict[str, int]:
    """What became of every row, over the hashes of the first `end` candidates: more of them change nothing."""
    copies = int(pc.sum(read.sample.table["copies"].slice(0, end)).as_py() or 0)
    near, refused = int(repeated[:end].sum()), sum(read.counts.values()) - read.counts["read"]
    rest = read.counts["read"] - refused - copies
    return {**read.counts, "duplicate": copies - end, "near_duplicate": near, "not_needed": rest, "kept": end - near}
