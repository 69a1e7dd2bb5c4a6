"""Where prompts come from: one table after the other, as it was written, from files on any store.

A source is a list of pieces, each read again by itself: the row groups of Parquet files, whole files of another kind.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from infra.artifact import Files
from infra.errors import UserError
from models.mini.captions import caption
from models.mini.scene import draw_scene
from models.mini.scene import generator as scene_generator
from tasks.data.prompt_filters import NUMBER, TEXT, Column

BATCH_ROWS = 8192
ROW = "\0row"
"""The column that holds a row's place in its file, from 0; for captions, their id."""


@dataclass(frozen=True)
class Piece:
    """A part of a source: file (its place among the files), size in bytes of it, and how to read it.

    ``read`` gives tables of the columns that were asked for, by the fields that name them and the text first, and ROW,
    each with the share of the piece that has been read with it, 0 to 1.
    """

    file: int
    size: int
    read: Callable[[], Iterator[tuple[pa.Table, float]]]


def grammar(seed: int, limit: int) -> list[Piece]:
    """The miniature world's sentences: `limit` of them, some more than once, in one piece."""

    def read() -> Iterator[tuple[pa.Table, float]]:
        texts = (_sentence(seed, index) for index in range(limit))
        for start in range(0, limit, BATCH_ROWS):
            rows = [*islice(texts, BATCH_ROWS)]
            yield _table([_TEXT_ONLY], [rows], range(start, start + len(rows))), (start + len(rows)) / limit

    return [Piece(0, limit, read)]


def _sentence(seed: int, index: int) -> str:
    rng = scene_generator(seed, index)
    return caption(draw_scene(rng, held_out=False), rng)


def text_pieces(files: Files) -> list[Piece]:
    """UTF-8, a prompt per line; a file may be gzipped and begin with a byte order mark."""

    def values(name: str, number: int, line: bytes) -> list[Any]:
        return [_decoded(files, name, number, line)]

    return [_lines_of(files, at, [_TEXT_ONLY], values) for at in range(len(files.sizes))]


def jsonl_pieces(files: Files, wanted: list[Column]) -> list[Piece]:
    """A JSON object per line; a file may be gzipped and begin with a byte order mark.

    Raises UserError now for a first line without a field that is asked for.
    """

    def values(name: str, number: int, line: bytes) -> list[Any]:
        row = _json_object(files, name, number, _decoded(files, name, number, line))
        return [_value(files, name, number, row, column) for column in wanted]

    for name in files.sizes:
        with _opened(files, name) as lines:
            first = next(((number, line) for number, line in enumerate(lines) if line.strip()), None)
        if first is not None:
            _require_fields(files, name, _json_object(files, name, first[0], _decoded(files, name, *first)), wanted)
    return [_lines_of(files, at, wanted, values) for at in range(len(files.sizes))]


def caption_pieces(files: Files) -> list[Piece]:
    """COCO captions in the official JSON, plain or gzip: all captions, by their ids."""
    return [Piece(at, size, _captions_of(files, name)) for at, (name, size) in enumerate(files.sizes.items())]


_TEXT_ONLY = Column("prompts.column", "prompt", TEXT)


def _table(wanted: list[Column], values: Iterable[list[Any]], rows: Iterable[int]) -> pa.Table:
    arrays = [pa.array(column, one.kind) for column, one in zip(values, wanted, strict=True)]
    return pa.table([*arrays, pa.array(rows, pa.int64())], names=[*(one.field for one in wanted), ROW])


def _lines_of(files: Files, at: int, wanted: list[Column], values: Callable[[str, int, bytes], list[Any]]) -> Piece:
    """A file whose lines are its rows; blank ones hold nothing."""
    name, size = [*files.sizes.items()][at]

    def read() -> Iterator[tuple[pa.Table, float]]:
        with files.file(name) as raw, _unpacked(files, name, raw) as lines:
            numbered = ((number, line) for number, line in enumerate(lines))
            while batch := [*islice(numbered, BATCH_ROWS)]:
                rows = [values(name, number, line) if line.strip() else [None] * len(wanted) for number, line in batch]
                columns = map(list, zip(*rows, strict=True))
                yield _table(wanted, columns, [number for number, _ in batch]), min(1.0, raw.tell() / size)

    return Piece(at, size, read)


@contextmanager
def _opened(files: Files, name: str) -> Iterator[io.BufferedIOBase]:
    with files.file(name) as raw, _unpacked(files, name, raw) as stream:
        yield stream


@contextmanager
def _unpacked(files: Files, name: str, raw: io.BufferedReader) -> Iterator[io.BufferedIOBase]:
    """The content without gzip and byte order mark."""
    try:
        packed = raw.peek(2)[:2] == b"\x1f\x8b"
        stream: io.BufferedIOBase = io.BufferedReader(gzip.GzipFile(fileobj=raw)) if packed else raw
        if stream.peek(3)[:3] == b"\xef\xbb\xbf":  # type: ignore[attr-defined]
            stream.read(3)
        yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"prompts.path: {files.place(name)}: broken gzip: {error}. Fetch or pack it again.") from error


def _decoded(files: Files, name: str, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"prompts.path: {files.place(name)} is not UTF-8, line {number + 1}: {error}; expected one prompt per"
            " line. Convert it first."
        ) from error


def _json_object(files: Files, name: str, number: int, line: str) -> dict[str, Any]:
    where = f"prompts.path: {files.place(name)}, line {number + 1}"
    try:
        row = json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UserError(f"{where}: broken JSON: {error}; expected one object per line. Mend or remove it.") from error
    if not isinstance(row, dict):
        raise UserError(f"{where}: a {type(row).__name__}; expected one JSON object per line.")
    return row


def _require_fields(files: Files, name: str, row: dict[str, Any], wanted: list[Column]) -> None:
    for column in wanted:
        if column.name not in row:
            raise UserError(
                f"{column.field}: the first line of {files.place(name)} has no field {column.name!r}; its fields are"
                f" {', '.join(row)}"
            )


def _value(files: Files, name: str, number: int, row: dict[str, Any], column: Column) -> Any:
    value, where = row.get(column.name), f"{column.field}: {files.place(name)}, line {number + 1}: {column.name!r}"
    if value is None or (column.kind == TEXT and isinstance(value, str)):
        return _whole(value, where)
    if column.kind == NUMBER and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value) if abs(value) < _LARGEST else math.inf
    raise UserError(f"{where} is {json.dumps(value)[:60]}; expected {kind_name(column.kind)} or null.")


_LARGEST = 10**300


def _whole(text: str | None, where: str) -> str | None:
    if text and not text.isascii() and _HALF.search(text):
        raise UserError(f"{where} holds half a character; expected Unicode text. Mend or remove the entry.")
    return text


_HALF = re.compile("[\ud800-\udfff]")


def kind_name(kind: pa.DataType) -> str:
    """What a column has to hold, in words."""
    return "numbers" if kind == NUMBER else "text"


def _captions_of(files: Files, name: str) -> Callable[[], Iterator[tuple[pa.Table, float]]]:
    def read() -> Iterator[tuple[pa.Table, float]]:
        entries = _annotations(files, name)
        for start in range(0, len(entries), BATCH_ROWS):
            batch = entries[start : start + BATCH_ROWS]
            ids, texts = [one for one, _ in batch], [text for _, text in batch]
            yield _table([_TEXT_ONLY], [texts], ids), min(1.0, (start + BATCH_ROWS) / len(entries))

    return read


def _annotations(files: Files, name: str) -> list[tuple[int, str | None]]:
    """(id, caption) of every annotation."""
    where = f"prompts.path: {files.place(name)}"
    try:
        with _opened(files, name) as stream:
            content = json.loads(stream.read().decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{where}: broken JSON: {error}; expected the COCO captions schema") from error
    found = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(found, list):
        raise UserError(f"{where}: no list `annotations`; expected the COCO captions schema: {_SCHEMA}")
    for at, entry in enumerate(found):
        fits = isinstance(entry, dict) and type(entry.get("id")) is int
        if not fits or not isinstance(entry.get("caption"), str | None):
            raise UserError(f"{where}: annotations[{at}]: {json.dumps(entry)[:80]}; expected {_SCHEMA}")
    return [(one["id"], _whole(one.get("caption"), f"{where}: annotation {one['id']}")) for one in found]


_SCHEMA = "annotations: [{id, image_id, caption}], the id a whole number, the caption text"
