"""Parquet of every kind: the columns that are asked for are read, row group by row group, and damage is named."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Files
from infra.errors import UserError
from infra.store import open_store
from infra.store.local import LocalStore
from tasks.data.prompt_filters import NUMBER, TEXT, Column
from tasks.data.prompt_parquet import parquet_pieces
from tasks.data.prompt_sources import ROW
from tests.s3 import BUCKET, S3Server
from tests.tasks.data.prompt_files import laion, sentences, write_parquet

WANTED = [Column("prompts.column", "TEXT", TEXT), Column("prompts.columns.width", "WIDTH", NUMBER)]
TEXTS = sentences(200)


def read(path: Path | str, wanted: list[Column] = WANTED) -> list[tuple[int, int, Any]]:
    """(file, row, text) of everything."""
    return [
        (piece.file, row, text)
        for piece in parquet_pieces(Files.open(str(path)), wanted)
        for table, _ in piece.read()
        for text, row in zip(table.column(0).to_pylist(), table[ROW].to_pylist(), strict=True)
    ]


@pytest.mark.parametrize("how", [
    {}, {"compression": "zstd"}, {"compression": "none", "use_dictionary": False}, {"version": "1.0"},
    {"data_page_version": "2.0", "data_page_size": 500}, {"row_group_size": 10**6}, {"store_schema": False},
])  # fmt: skip
def test_every_row_once_with_its_place(how: dict[str, Any], tmp_path: Path) -> None:
    write_parquet(tmp_path / "in" / "a.parquet", laion(TEXTS[:150]), **how)
    write_parquet(tmp_path / "in" / "more" / "b.parquet", laion(TEXTS[150:]), **how)
    assert read(tmp_path / "in") == [(0, n, TEXTS[n]) for n in range(150)] + [(1, n, TEXTS[150 + n]) for n in range(50)]


def test_dictionaries_long_strings_views_and_nulls(tmp_path: Path) -> None:
    texts = ["one", None, "two", "one"]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string())):
        column = (
            pa.array(texts).dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else pa.array(texts, kind)
        )
        pq.write_table(pa.table({"TEXT": column, "WIDTH": [1, 2, None, 4]}), tmp_path / "a.parquet")
        assert [text for *_, text in read(tmp_path / "a.parquet")] == texts


def test_numbers_of_every_kind(tmp_path: Path) -> None:
    for kind in (pa.int32(), pa.uint8(), pa.float32(), pa.decimal128(5, 1)):
        values = pa.array([1, None, 3], pa.int8()).cast(kind)
        pq.write_table(pa.table({"TEXT": ["a", "b", "c"], "WIDTH": values}), tmp_path / "a.parquet")
        (piece,) = parquet_pieces(Files.open(str(tmp_path / "a.parquet")), WANTED)
        ((table, share),) = piece.read()
        assert table["prompts.columns.width"].to_pylist() == [1.0, None, 3.0] and share == 1.0


def test_sizes_and_shares_tell_how_far_it_is(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", laion(sentences(20_000)), row_group_size=15_000)
    pieces = parquet_pieces(Files.open(str(path)), WANTED)
    assert abs(sum(piece.size for piece in pieces) - path.stat().st_size) < 2
    shares = [[share for _, share in piece.read()] for piece in pieces]
    assert [len(one) for one in shares] == [2, 1] and all(one == sorted(one) and one[-1] == 1 for one in shares)


def test_a_file_without_rows_holds_none(tmp_path: Path) -> None:
    pq.write_table(pa.table({"TEXT": pa.array([], pa.string()), "WIDTH": pa.array([], pa.int32())}), tmp_path / "a")
    assert read(tmp_path / "a") == []


def test_other_columns_are_not_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {**laion(sentences(3000)), "LONG": [f"{n}" * 3000 for n in range(3000)]}
    path = write_parquet(tmp_path / "a.parquet", rows, row_group_size=1000, compression="none")
    fetched, whole = 0, LocalStore.read_range

    def counted(store: LocalStore, name: str, start: int, stop: int) -> bytes:
        nonlocal fetched
        fetched += stop - start
        return whole(store, name, start, stop)

    monkeypatch.setattr(LocalStore, "read_range", counted)
    assert len(read(path)) == 3000
    assert fetched < path.stat().st_size / 3


@pytest.mark.parametrize("data", [b"", b"PAR1 but no more", b"prompt\nand another\n"])
def test_a_file_that_is_not_parquet_is_named(data: bytes, tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", laion(TEXTS))
    (tmp_path / "some.parquet").write_bytes(data)
    with pytest.raises(UserError, match=r"^prompts\.path: .*some\.parquet is not a Parquet file: .* Fetch it again"):
        parquet_pieces(Files.open(str(tmp_path)), WANTED)


def test_a_missing_column_is_named_with_those_there_are_before_anything_is_read(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", laion(TEXTS))
    write_parquet(tmp_path / "b.parquet", {"caption": TEXTS, "url": TEXTS})
    with pytest.raises(UserError) as caught:
        parquet_pieces(Files.open(str(tmp_path)), WANTED)
    assert re.search(
        r"^prompts\.column: .*b\.parquet has no column 'TEXT'; its columns are caption, url$", str(caught.value)
    )
    rows = laion(TEXTS)
    del rows["WIDTH"]
    write_parquet(tmp_path / "b.parquet", rows)
    with pytest.raises(UserError, match=r"^prompts\.columns\.width: .*b\.parquet has no column 'WIDTH'; .* HEIGHT"):
        parquet_pieces(Files.open(str(tmp_path)), WANTED)


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("TEXT", [1, 2], "prompts.column: column 'TEXT' of .* is of type int64; expected text"),
        ("TEXT", [["a"], ["b"]], "prompts.column: column 'TEXT' of .* is of type list<.*>; expected text"),
        ("WIDTH", ["512", "256"], "prompts.columns.width: column 'WIDTH' of .* is of type string; expected numbers"),
        ("WIDTH", [True, False], "prompts.columns.width: column 'WIDTH' of .* is of type bool; expected numbers"),
    ],
)
def test_a_column_of_another_type_is_named(column: str, values: list[Any], said: str, tmp_path: Path) -> None:
    pq.write_table(pa.table({"TEXT": ["a", "b"], "WIDTH": [1, 2], column: values}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=f"^{said}"):
        parquet_pieces(Files.open(str(tmp_path / "a.parquet")), WANTED)


@pytest.mark.parametrize("how", [{"compression": "snappy"}, {"compression": "zstd"}, {"compression": "none"}])
@pytest.mark.parametrize("checked", [True, False])
def test_a_damaged_page_is_named_with_its_row_group(how: dict[str, Any], checked: bool, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", laion(TEXTS), write_page_checksum=checked, use_dictionary=False, **how)
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    assert column.path_in_schema == "TEXT"
    data, middle = bytearray(path.read_bytes()), column.data_page_offset + column.total_compressed_size // 2
    data[middle : middle + 40] = b"\xff" * 40
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"^prompts\.path: .*a\.parquet, row group 1 is damaged: .* Fetch it again"):
        read(path)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet", laion(TEXTS))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.parquet is not a Parquet file"):
        parquet_pieces(Files.open(str(path)), WANTED)


def test_from_an_object_store(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    path = write_parquet(tmp_path / "a.parquet", laion(TEXTS))
    store = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    store.upload(path, "laion/a.parquet")
    store.upload(path, "laion/b.parquet")
    found = read(f"{store.url}/laion/*.parquet")
    assert found == [(file, n, TEXTS[n]) for file in (0, 1) for n in range(200)]
    store.write("laion/c.parquet", b"nothing")
    with pytest.raises(UserError, match=rf"^prompts\.path: {store.url}/laion/c\.parquet is not a Parquet file"):
        read(f"{store.url}/laion")
    pieces = parquet_pieces(Files.open(f"{store.url}/laion/[ab].parquet"), WANTED)
    store.delete("laion/b.parquet")
    with pytest.raises(UserError, match=r"laion/b\.parquet: the file is gone"):
        [*pieces[-1].read()]
