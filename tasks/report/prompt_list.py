"""A look at the prompts: some of them, where they come from, and what became of the others."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.parquet as pq

from infra.artifact import Artifact

SHOWN = 20


@dataclass(frozen=True)
class PromptRow:
    """A prompt, the part it is in, and its row in the source."""

    part: str
    prompt: str
    source: str


@dataclass(frozen=True)
class PromptList:
    """The first prompts of a sample, which is in hash order: they are not chosen. And the counts of its metrics."""

    rows: list[PromptRow]
    counts: list[tuple[str, int]]


def read_prompt_list(artifact: Artifact) -> PromptList:
    """What a prompts artifact shows of itself."""
    with pq.ParquetFile(artifact.fetch("prompts.parquet")) as file:
        first = next(file.iter_batches(SHOWN), None)
    rows = first.to_pylist() if first is not None else []
    counts = [(name.replace("_", " "), value) for name, value in artifact.manifest.metrics.items()]
    return PromptList(
        [PromptRow(row["part"], row["prompt"], f"{row['source_file']}:{row['source_row']}") for row in rows],
        [(name, value) for name, value in counts if isinstance(value, int)],
    )
