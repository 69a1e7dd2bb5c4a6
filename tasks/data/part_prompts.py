"""The prompts of one part, as they are read: mapped, a slice at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.artifact import Source
from infra.artifact.mapped import ROWS, Rows, mapped
from tasks.data.inputs import as_artifact
from tasks.sections import Part

Prompt = tuple[int, str]
"""Its index among the prompts of all parts, and its text."""
_SCHEMA = pa.schema({"index": pa.int64(), "prompt": pa.string()})


class PartPrompts:
    """The prompts of one part of a prompts artifact, in their order; of a slice its rows are read and nothing else.

    Raises UserError for a plain folder and for a damaged file, StoreError.
    """

    def __init__(self, artifact: Source, part: Part) -> None:
        self._rows = mapped(as_artifact(artifact), "prompts.parquet", f"{part}-1", lambda file: _rows_of(file, part))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> list[Prompt]:
        """Rows from start to stop, as of a list."""
        start, stop, step = rows.indices(len(self))
        assert step == 1, "rows that follow one another"
        return _plain(self._rows.slice(start, max(0, stop - start)))

    def __iter__(self) -> Iterator[Prompt]:
        for batch in self._rows.to_batches():
            yield from _plain(batch)


def _plain(rows: pa.Table | pa.RecordBatch) -> list[Prompt]:
    return [*zip(rows["index"].to_pylist(), rows["prompt"].to_pylist(), strict=True)]


def _rows_of(file: pq.ParquetFile, part: Part) -> Rows:
    batches = file.iter_batches(ROWS, columns=["part", *_SCHEMA.names])
    own = (batch.filter(pc.equal(batch["part"], part)) for batch in batches)
    return _SCHEMA, (batch.select(_SCHEMA.names).cast(_SCHEMA) for batch in own)
