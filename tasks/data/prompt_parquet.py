"""Prompts in Parquet files: row group by row group, and of those only the columns that are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from infra.artifact import Files
from infra.errors import UserError
from infra.store import StoreError
from infra.store.ranged import AT_ONCE_BYTES
from tasks.data.prompt_filters import TEXT, Column
from tasks.data.prompt_sources import BATCH_ROWS, ROW, Piece, kind_name


def parquet_pieces(files: Files, wanted: list[Column]) -> list[Piece]:
    """Every row group of every file.

    Raises UserError now, from the footers, for a file that is not Parquet and for a column that is missing or of
    another type; while reading, for a damaged row group.
    """
    return [piece for at, name in enumerate(files.sizes) for piece in _groups(files, at, name, wanted)]


def _groups(files: Files, at: int, name: str, wanted: list[Column]) -> Iterator[Piece]:
    with _opened(files, name) as source:
        for column in wanted:
            _require(source.schema_arrow, column, files.place(name))
        first, total = 0, max(1, source.metadata.num_rows)
        for group in range(source.num_row_groups):
            rows = source.metadata.row_group(group).num_rows
            size = files.sizes[name] * rows // total
            yield Piece(at, size, _reading(files, name, group, (first, rows), wanted))
            first += rows


@contextmanager
def _opened(files: Files, name: str) -> Iterator[pq.ParquetFile]:
    with files.file(name) as raw:
        try:
            # a page at a time, for a row group may be as large as its file
            source = pq.ParquetFile(raw, buffer_size=AT_ONCE_BYTES, pre_buffer=False, page_checksum_verification=True)
        except StoreError:
            raise
        except (pa.ArrowException, OSError) as error:
            raise UserError(f"prompts.path: {files.place(name)} is not a Parquet file: {error}. {_REMEDY}") from error
        yield source


def _reading(
    files: Files, name: str, group: int, rows: tuple[int, int], wanted: list[Column]
) -> Callable[[], Iterator[tuple[pa.Table, float]]]:
    def read() -> Iterator[tuple[pa.Table, float]]:
        first, count = rows
        done = 0
        with _opened(files, name) as source, _sound(f"{files.place(name)}, row group {group}"):
            names = [*{one.name: None for one in wanted}]
            for batch in source.iter_batches(BATCH_ROWS, [group], names, use_threads=False):
                yield _table(batch, wanted, first + done), (done + len(batch)) / count
                done += len(batch)

    return read


def _table(batch: pa.RecordBatch, wanted: list[Column], first: int) -> pa.Table:
    arrays = [_plain(batch.column(one.name), one.kind) for one in wanted]
    rows = pa.array(range(first, first + len(batch)), pa.int64())
    return pa.table([*arrays, rows], names=[*(one.field for one in wanted), ROW])


def _plain(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    values.validate(full=True)  # of damaged pages without a checksum some give broken letters and nothing else
    return pc.cast(values, kind, safe=False)


@contextmanager
def _sound(where: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompts.path: {where} is damaged: {error}. {_REMEDY}") from error


_REMEDY = "Fetch it again, or leave it out: move it away, or name the others by a pattern (folder/*.parquet)."


def _require(schema: pa.Schema, column: Column, where: str) -> None:
    if column.name not in schema.names:
        raise UserError(
            f"{column.field}: {where} has no column {column.name!r}; its columns are {', '.join(schema.names)}"
        )
    kind = schema.field(column.name).type
    if not _fits(kind.value_type if pa.types.is_dictionary(kind) else kind, column.kind):
        raise UserError(
            f"{column.field}: column {column.name!r} of {where} is of type {kind}; expected {kind_name(column.kind)}"
        )


def _fits(kind: pa.DataType, wanted: pa.DataType) -> bool:
    is_ = pa.types
    if wanted == TEXT:
        return is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind)
    return is_.is_integer(kind) or is_.is_floating(kind) or is_.is_decimal(kind)
