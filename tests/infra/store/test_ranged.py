"""A file of any store is a file object like any other, and what is not read is not fetched."""

from __future__ import annotations

import gzip
import io
import random
from pathlib import Path

import pytest

from infra.store import Store
from infra.store.local import LocalStore
from infra.store.ranged import AT_ONCE_BYTES, open_file

STORES = ("local", "rclone")


def test_it_reads_and_seeks_as_a_local_file_does(store: Store) -> None:
    chance = random.Random(0)
    data = chance.randbytes(3 * AT_ONCE_BYTES + 17)
    store.write("a/b", data)
    with open_file(store, "a/b") as file, io.BytesIO(data) as twin:
        for _ in range(40):
            offset, whence = chance.choice(((chance.randrange(len(data)), 0), (-chance.randrange(9999), 2), (3, 1)))
            assert file.seek(offset, whence) == twin.seek(offset, whence) == file.tell()
            assert file.read(count := chance.randrange(9999)) == twin.read(count)
        assert file.seek(0) == 0 and file.read() == data and file.read() == b""


def test_it_can_be_unpacked_line_by_line(store: Store) -> None:
    store.write("lines.gz", gzip.compress(b"one\ntwo\n"))
    with open_file(store, "lines.gz") as file, gzip.open(file) as lines:
        assert [*lines] == [b"one\n", b"two\n"]


def test_an_absent_file_is_absent(store: Store) -> None:
    with pytest.raises(FileNotFoundError, match="none"):
        open_file(store, "none")


def test_what_is_not_read_is_not_fetched(tmp_path: Path) -> None:
    class Counting(LocalStore):
        fetched = 0

        def read_range(self, path: str, start: int, stop: int) -> bytes:
            self.fetched += stop - start
            return super().read_range(path, start, stop)

    store = Counting(tmp_path)
    store.write("a", bytes(20 * AT_ONCE_BYTES))
    with open_file(store, "a") as file:
        file.seek(-8, io.SEEK_END)
        file.read()
        file.seek(5 * AT_ONCE_BYTES)
        file.read(10)
    assert store.fetched <= 8 + AT_ONCE_BYTES
