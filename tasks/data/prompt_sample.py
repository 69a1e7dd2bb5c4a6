"""The prompts with the smallest hashes: a sample that depends neither on the order nor on the number of files.

It lies in a file and is mapped: what is held of it is a batch, however large it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

SCHEMA = pa.schema(
    {"hash": pa.uint64(), "prompt": pa.large_string(), "file": pa.int32(), "row": pa.int64(), "copies": pa.int64()}
)
_ALL = 1 << 64
_AT_LEAST, _AT_MOST = 1 << 14, 1 << 18  # rows that are worth a pass over the sample, and rows that are held
_ROWS = 1 << 16


class Smallest:
    """Of the rows added so far the `limit` with the smallest hashes, each hash once, with the number of its rows.

    Several rows of one hash are one prompt: the smallest text, then file, then row stands for it. So the outcome is a
    function of the set of rows, and every number of a hash that is kept to the end is exact: what is left out has
    `limit` smaller ones before it. `path` is the file that it lies in; what is there already is gone on with.
    """

    def __init__(self, limit: int, path: Path) -> None:
        self.limit, self.path = limit, path
        self._pending: list[pa.Table] = []
        self._waiting = 0
        if not path.exists():
            _write(path, iter(()))
        self._open()

    def _open(self) -> None:
        self._table = pa.ipc.open_stream(pa.memory_map(str(self.path))).read_all()
        self.above = self._table["hash"][-1].as_py() + 1 if len(self._table) >= self.limit else _ALL
        """A row with this hash or a larger one is of no use."""

    def add(self, hashes: list[int], prompts: list[str], file: int, rows: list[int]) -> None:
        """Take in rows of a file whose hashes are below :attr:`above`."""
        count = len(hashes)
        columns = [hashes, prompts, np.full(count, file), rows, np.ones(count)]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, SCHEMA.types, strict=True)]
        self._pending.append(pa.table(arrays, schema=SCHEMA))
        self._waiting += count
        if self._waiting >= min(max(self.limit // 2, _AT_LEAST), _AT_MOST):
            self.merge()

    def merge(self) -> None:
        """Bring the file up to what was added."""
        if self._pending:
            part = self.path.with_suffix(".part")
            _write(part, _first(self.limit, _joined(self._table, merged(pa.concat_tables(self._pending)))))
            part.replace(self.path)
            self._pending, self._waiting = [], 0
            self._open()

    @property
    def table(self) -> pa.Table:
        """The sample, in the order of the hashes; a map of the file, in chunks."""
        self.merge()
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


def _joined(sample: pa.Table, more: pa.Table) -> Iterator[pa.Table]:
    """Both, which are in the order of their hashes, as one that is, piece by piece."""
    hashes, done = more["hash"].to_numpy(), 0
    for start in range(0, len(sample), _ROWS):
        piece = sample.slice(start, _ROWS)
        upto = int(np.searchsorted(hashes, np.uint64(piece["hash"][-1].as_py()), side="right"))
        yield merged(pa.concat_tables([piece, more.slice(done, upto - done)])) if upto > done else piece
        done = upto
    yield more.slice(done)


def _first(limit: int, pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    for piece in pieces:
        yield piece.slice(0, limit)
        limit -= min(limit, len(piece))


def _write(path: Path, pieces: Iterator[pa.Table]) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, SCHEMA) as stream:
        for piece in pieces:
            stream.write_table(piece.combine_chunks())


def to_tensor(sample: Smallest) -> torch.Tensor:
    """A sample as bytes [N], for a checkpoint: those of its file, mapped."""
    sample.merge()
    return torch.from_numpy(np.memmap(sample.path, np.uint8, "c"))


def from_tensor(data: torch.Tensor, path: Path) -> None:
    """Put the sample that :func:`to_tensor` was given where :class:`Smallest` goes on with it."""
    data.numpy().tofile(path)
