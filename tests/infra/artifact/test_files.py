"""Many files are one input, wherever they lie: pinned by what is in them, named by a folder, a pattern or a file."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Files, Folder, stamps
from infra.artifact import files as module
from infra.errors import UserError
from infra.store import open_store
from tests.s3 import BUCKET, S3Server


def filled(root: str) -> str:
    store = open_store(root)
    for name in ("b/2.txt", "a/1.txt", "a/3.csv", ".hidden/x.txt", "_SUCCESS"):
        store.write(name, name.encode())
    return root


@pytest.fixture(params=["local", "s3"])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "local":
        return filled(str(tmp_path / "files"))
    server: S3Server = request.getfixturevalue("rclone")
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return filled(f"s3://{BUCKET}/{tmp_path.name}")


def test_a_folder_a_pattern_and_a_file(root: str) -> None:
    assert Files.open(root).sizes == {"a/1.txt": 7, "a/3.csv": 7, "b/2.txt": 7}, "sorted, without what is hidden"
    assert [*Files.open(f"{root}/*/*.txt").sizes] == ["a/1.txt", "b/2.txt"]
    assert [*Files.open(f"{root}/**/[12].txt").sizes] == ["a/1.txt", "b/2.txt"]
    assert [*Files.open(f"{root}/a/*").sizes] == ["1.txt", "3.csv"] and not Files.open(f"{root}/a*/3.csv").sizes == {}
    one = Files.open(f"{root}/a/1.txt")
    assert one.sizes == {"1.txt": 7} and one.store.read("1.txt") == b"a/1.txt" and one.uri == f"{root}/a/1.txt"


@pytest.mark.parametrize("path", ["none", "none/*.txt", "*.parquet", "a/none.txt"])
def test_nothing_there_is_named(root: str, path: str) -> None:
    with pytest.raises(UserError, match="no such file or folder") as caught:
        Files.open(f"{root}/{path}")
    assert f"{root}/{path}" in str(caught.value)


def test_relative_paths_start_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(str(tmp_path / "files"))
    monkeypatch.chdir(tmp_path / "files")
    assert [*Files.open("a/1.txt").sizes] == ["1.txt"] and [*Files.open("*/1.txt").sizes] == ["a/1.txt"]
    assert Files.open("./a").uri == str(tmp_path / "files" / "a") and len(Files.open(".").sizes) == 3
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Files.open("~/files/a/1.txt").uri == str(tmp_path / "files" / "a" / "1.txt")


def test_the_digest_is_the_contents_and_not_the_places(root: str, tmp_path: Path) -> None:
    elsewhere = filled(str(tmp_path / "elsewhere"))
    assert Files.open(root).digest == Files.open(elsewhere).digest
    assert Files.open(f"{root}/a/1.txt").digest == Folder.open(f"{elsewhere}/a/1.txt").digest
    before = Files.open(elsewhere).digest
    open_store(elsewhere).write("a/1.txt", b"A/1.txt")
    changed = Files.open(elsewhere).digest
    assert before != changed
    (Path(elsewhere) / "a" / "1.txt").rename(Path(elsewhere) / "a" / "0.txt")
    assert Files.open(elsewhere).digest != changed, "a row is told by its file"


def test_of_a_large_parquet_file_the_footer_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HASHED_WHOLE_BYTES", 1000)
    found = []
    for texts in (["one"] * 300 + ["two"], ["one"] * 300 + ["too"], ["one"] * 300 + ["three"]):
        pq.write_table(pa.table({"text": texts, "more": range(301)}), tmp_path / "a.parquet")
        found.append(Files.open(str(tmp_path / "a.parquet")).digest)
    assert len({*found}) == 3
    (tmp_path / "a.txt").write_bytes(bytes(5000))
    assert Files.open(str(tmp_path / "a.txt")).digest == Folder.open(tmp_path / "a.txt").digest, "nothing else is cut"


def test_a_file_is_read_once_and_again_when_it_changed(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "YOUNG_S", -60.0)  # else all of them are too young to be believed
    read, names = Files.file, []
    monkeypatch.setattr(Files, "file", lambda self, name: (names.append(name), read(self, name))[1])
    first = [Files.open(path).digest for path in (root, root, f"{root}/a/1.txt")]
    assert names == ["a/1.txt", "a/3.csv", "b/2.txt"] and first[0] == first[1]
    open_store(root).write("a/1.txt", b"of another size")
    assert Files.open(root).digest != first[0] and Files.open(f"{root}/a/1.txt").digest != first[2]
    assert names[3:] == ["a/1.txt"]


def test_a_file_that_is_gone_since_it_was_listed_is_named(root: str) -> None:
    found = Files.open(root)
    open_store(root).delete("a/1.txt")
    with pytest.raises(UserError, match="a/1.txt: the file is gone since it was listed"):
        _ = found.digest


def test_credentials_do_not_belong_into_a_path() -> None:
    with pytest.raises(UserError, match="user name and password"):
        Files.open("s3://key:secret@bucket/laion/*.parquet")
