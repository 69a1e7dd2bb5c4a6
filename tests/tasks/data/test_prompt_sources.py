"""Lines, JSONL, captions and the grammar: plain or gzip, and whatever is wrong is named by file and line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.artifact import Files
from infra.errors import UserError
from infra.store import open_store
from models.mini.captions import mentioned
from models.mini.scene import ATTRIBUTES, is_held_out
from tasks.data import prompt_sources as module
from tasks.data.prompt_filters import NUMBER, TEXT, Column
from tasks.data.prompt_sources import ROW, Piece, caption_pieces, grammar, jsonl_pieces, text_pieces
from tests.s3 import BUCKET, S3Server

WANTED = [Column("prompts.column", "text", TEXT), Column("prompts.columns.width", "w", NUMBER)]
BOM = b"\xef\xbb\xbf"


def read(pieces: list[Piece]) -> list[tuple[Any, ...]]:
    """(file, row, columns) of everything."""
    return [
        (piece.file, row[ROW], *(value for name, value in row.items() if name != ROW))
        for piece in pieces
        for table, _ in piece.read()
        for row in table.to_pylist()
    ]


@pytest.fixture(params=["plain", "gzip", "bom", "gzip-bom"])
def packed(request: pytest.FixtureRequest) -> Callable[[bytes], bytes]:
    marked: Callable[[bytes], bytes] = (lambda data: BOM + data) if "bom" in request.param else lambda data: data
    return (lambda data: gzip.compress(marked(data))) if "gzip" in request.param else marked


def test_lines(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(packed("one\r\n\ncaf\u00e9\n".encode()))
    (tmp_path / "b.txt").write_bytes(packed(b"two"))
    assert read(text_pieces(Files.open(str(tmp_path)))) == [
        (0, 0, "one\r\n"), (0, 1, None), (0, 2, "caf\u00e9\n"), (1, 0, "two"),
    ]  # fmt: skip


def test_objects(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"text": "one", "w": 5, "x": [1]}, {"w": 2.5, "text": None}, {"text": "two"}]
    (tmp_path / "a.jsonl").write_bytes(packed("\n\n".join(map(json.dumps, rows)).encode()))
    assert read(jsonl_pieces(Files.open(str(tmp_path)), WANTED)) == [
        (0, 0, "one", 5.0), (0, 1, None, None), (0, 2, None, 2.5), (0, 3, None, None), (0, 4, "two", None),
    ]  # fmt: skip


def test_captions(packed: Callable[[bytes], bytes], tmp_path: Path) -> None:
    every = [{"id": 7, "image_id": 1, "caption": "one"}, {"id": 3, "image_id": 1, "caption": None}, {"id": 9}]
    content = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": every}
    (tmp_path / "a.json").write_bytes(packed(json.dumps(content).encode()))
    assert read(caption_pieces(Files.open(str(tmp_path)))) == [(0, 7, "one"), (0, 3, None), (0, 9, None)]


def test_large_files_come_in_batches_and_say_how_far_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_ROWS", 100)
    lines = [f"line {n} {'x' * 10_000}" for n in range(250)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (piece,) = text_pieces(Files.open(str(tmp_path)))
    tables, shares = zip(*piece.read(), strict=True)
    assert [len(table) for table in tables] == [100, 100, 50] and piece.size == (tmp_path / "a.txt").stat().st_size
    assert [*shares] == sorted(shares) and 0.3 < shares[0] < 0.9 and shares[-1] == 1


def test_from_an_object_store(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    store.write("a.txt.gz", gzip.compress(b"one\ntwo"))
    assert read(text_pieces(Files.open(f"{store.url}/a.txt.gz"))) == [(0, 0, "one\n"), (0, 1, "two")]


def refused(data: bytes, pieces: Callable[[Files], list[Piece]], tmp_path: Path) -> str:
    (tmp_path / "a.file").write_bytes(data)
    with pytest.raises(UserError) as caught:
        read(pieces(Files.open(str(tmp_path / "a.file"))))
    return str(caught.value).replace(str(tmp_path), "DIR")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"ok\ncaf\xe9\n", "prompts.path: DIR/a.file is not UTF-8, line 2: 'utf-8' codec can't decode byte 0xe9"),
        ("ok".encode("utf-16"), "prompts.path: DIR/a.file is not UTF-8, line 1"),
        (gzip.compress(b"ok\n" * 5000, mtime=0)[:-20], "prompts.path: DIR/a.file: broken gzip: Compressed file ended"),
        (
            gzip.compress(b"ok\n" * 50, mtime=0)[:-8] + bytes(8),
            "prompts.path: DIR/a.file: broken gzip: CRC check failed",
        ),
        (b"\x1f\x8bnothing of the kind", "prompts.path: DIR/a.file: broken gzip: Unknown compression method"),
    ],
)
def test_lines_that_cannot_be_read_are_named(data: bytes, said: str, tmp_path: Path) -> None:
    assert refused(data, text_pieces, tmp_path).startswith(said)


OBJECT = b'{"text": "a", "w": 1}\n'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (OBJECT + b'{"text": "a"', "prompts.path: DIR/a.file, line 2: broken JSON: Expecting ',' delimiter"),
        (OBJECT + b"[" * 100_000, "prompts.path: DIR/a.file, line 2: broken JSON: "),
        (OBJECT + b"\n[1]", "prompts.path: DIR/a.file, line 3: a list; expected one JSON object per line"),
        (OBJECT + b'{"text": 5}', "prompts.column: DIR/a.file, line 2: 'text' is 5; expected text or null"),
        (
            OBJECT + b'{"text": "", "w": "5"}',
            "prompts.columns.width: DIR/a.file, line 2: 'w' is \"5\"; expected numbers",
        ),
        (OBJECT + b'{"text": "", "w": true}', "prompts.columns.width: DIR/a.file, line 2: 'w' is true; expected num"),
        (b'\n{"caption": "a"}', "prompts.column: the first line of DIR/a.file has no field 'text'; its fields are cap"),
        (b'{"text": "a"}', "prompts.columns.width: the first line of DIR/a.file has no field 'w'; its fields are text"),
        (
            b'{"text": "", "w": 1e999}\n{"text": 1' + b"0" * 400 + b"}",
            "prompts.column: DIR/a.file, line 2: 'text' is 10",
        ),
        (b'{"text": "\\ud800", "w": 1}', "prompts.column: DIR/a.file, line 1: 'text' holds half a character"),
    ],
)
def test_objects_that_do_not_fit_are_named(data: bytes, said: str, tmp_path: Path) -> None:
    assert refused(data, lambda files: jsonl_pieces(files, WANTED), tmp_path).startswith(said)


def test_a_missing_field_is_told_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OBJECT * 10)
    (tmp_path / "b").write_bytes(b'{"other": "a"}')
    (tmp_path / "empty").write_bytes(b"")
    with pytest.raises(UserError, match="b has no field 'text'; its fields are other"):
        jsonl_pieces(Files.open(str(tmp_path)), WANTED)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "prompts.path: DIR/a.file: broken JSON: "),
        ("[" * 100_000, "prompts.path: DIR/a.file: broken JSON: "),
        ([1], "prompts.path: DIR/a.file: no list `annotations`; expected the COCO captions schema"),
        ({"annotations": {}}, "prompts.path: DIR/a.file: no list `annotations`"),
        ({"annotations": [{"id": 1, "caption": "a"}, {"caption": "b"}]}, "prompts.path: DIR/a.file: annotations[1]: "),
        ({"annotations": [{"id": 1, "caption": ["a"]}]}, "prompts.path: DIR/a.file: annotations[0]: "),
        ({"annotations": [{"id": 4, "caption": "\ud800"}]}, "prompts.path: DIR/a.file: annotation 4 holds half a char"),
        ({"annotations": ["a"]}, "prompts.path: DIR/a.file: annotations[0]: "),
    ],
)
def test_captions_that_do_not_fit_are_named(content: Any, said: str, tmp_path: Path) -> None:
    data = content if isinstance(content, str) else json.dumps(content)
    assert refused(data.encode(), caption_pieces, tmp_path).startswith(said)


def test_the_grammar_is_a_function_of_seed_and_index(monkeypatch: pytest.MonkeyPatch) -> None:
    (piece,) = grammar(5, 300)
    found = read([piece])
    assert [row for _, row, _ in found] == [*range(300)] and found == read([piece])
    assert found != read(grammar(6, 300)) and read(grammar(5, 100)) == found[:100]
    for *_, text in found:
        said = mentioned(text)
        if len(said) == len(ATTRIBUTES):
            assert not is_held_out(tuple(said[name] for name in ATTRIBUTES)), "training combinations only"
