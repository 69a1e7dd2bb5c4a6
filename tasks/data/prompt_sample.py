"""The prompts with the smallest hashes: a sample that depends neither on the order nor on the number of files."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

SCHEMA = pa.schema(
    {"hash": pa.uint64(), "prompt": pa.large_string(), "file": pa.int32(), "row": pa.int64(), "copies": pa.int64()}
)
_ALL = 1 << 64
_AT_LEAST = 1 << 14  # rows that are worth a sort


class Smallest:
    """Of the rows added so far the `limit` with the smallest hashes, each hash once, with the number of its rows.

    Several rows of one hash are one prompt: the smallest text, then file, then row stands for it. So the outcome is a
    function of the set of rows, and every number of a hash that is kept to the end is exact: what is left out has
    `limit` smaller ones before it.
    """

    def __init__(self, limit: int, table: pa.Table | None = None) -> None:
        self.limit = limit
        self._table = SCHEMA.empty_table() if table is None else table
        self._pending: list[pa.Table] = []
        self._waiting = 0
        self._bound()

    def _bound(self) -> None:
        self.above = self._table["hash"][-1].as_py() + 1 if len(self._table) >= self.limit else _ALL
        """A row with this hash or a larger one is of no use."""

    def add(self, hashes: list[int], prompts: list[str], file: int, rows: list[int]) -> None:
        """Take in rows of a file whose hashes are below :attr:`above`."""
        count = len(hashes)
        columns = [hashes, prompts, np.full(count, file), rows, np.ones(count)]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        self._pending.append(pa.table(arrays, schema=SCHEMA))
        self._waiting += count
        if self._waiting >= max(self.limit // 2, _AT_LEAST):
            self._merge()

    def _merge(self) -> None:
        if self._pending:
            self._table = merged(pa.concat_tables([self._table, *self._pending])).slice(0, self.limit).combine_chunks()
            self._pending, self._waiting = [], 0
            self._bound()

    @property
    def table(self) -> pa.Table:
        """The sample, in the order of the hashes."""
        self._merge()
        return self._table

    @property
    def full(self) -> bool:
        """Whether there may be more where these came from."""
        return len(self.table) >= self.limit


def merged(rows: pa.Table) -> pa.Table:
    """The rows in the order of their hashes, those of one hash as one."""
    rows = rows.sort_by([(name, "ascending") for name in ("hash", "prompt", "file", "row")])
    hashes = rows["hash"].to_numpy()
    first: NDArray[np.bool_] = np.ones(len(hashes), bool)
    first[1:] = hashes[1:] != hashes[:-1]
    if first.all():
        return rows
    copies = np.add.reduceat(rows["copies"].to_numpy(), np.flatnonzero(first))
    kept = rows.filter(pa.array(first))
    return kept.set_column(kept.column_names.index("copies"), "copies", pa.array(copies, pa.int64()))


def to_tensor(table: pa.Table) -> torch.Tensor:
    """A table as bytes [N], for a checkpoint."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return torch.frombuffer(bytearray(sink.getvalue()), dtype=torch.uint8)


def from_tensor(data: torch.Tensor) -> pa.Table:
    """The table that :func:`to_tensor` was given."""
    return pa.ipc.open_stream(data.numpy().tobytes()).read_all()
