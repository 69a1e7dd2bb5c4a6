"""A Parquet file of an artifact as a table that is mapped and not held: the processes of a machine share its pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from infra.artifact.artifact import Artifact
from infra.artifact.cache import derived
from infra.errors import UserError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS = 1 << 16
"""Rows of a batch, which is what is held while a table is made."""
Rows: TypeAlias = "tuple[pa.Schema, Iterable[pa.RecordBatch]]"
_TRIES = 10


def mapped(artifact: Artifact, name: str, kind: str, rows: Callable[[pq.ParquetFile], Rows]) -> pa.Table:
    """The table of what `rows` gives of the file `name`, written as an Arrow file into the cache once a machine.

    `kind` stands for what `rows` does. Columns are in chunks: take single rows by number and ranges by `slice`, for
    `take` would copy the column. Raises UserError and StoreError as `Artifact.fetch` does, and what `rows` raises.
    """
    import pyarrow as pa

    record = artifact.record(name)
    for _ in range(_TRIES):
        path = derived(artifact.store, artifact.base, record, kind, lambda source, target: _write(rows, source, target))
        try:
            return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        except FileNotFoundError:  # another process has just made room in the cache
            continue
    raise UserError(
        f"{artifact.uri}/{record.path}: gone from the cache before it could be read, {_TRIES} times."
        " Others fill the cache as fast: raise INSTAFLOW_CACHE_BYTES or give this process a cache of its own."
    )


def _write(rows: Callable[[pq.ParquetFile], Rows], source: Path, target: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(source, memory_map=True, pre_buffer=False) as file:
        schema, batches = rows(file)
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    pa.default_memory_pool().release_unused()  # what was decoded
