"""A store writes whole files or nothing and says "absent" for absence alone: local and remote alike."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from infra.artifact.fingerprint import sha256_bytes
from infra.errors import UserError
from infra.store import Store


def test_what_is_written_is_read(store: Store, tmp_path: Path) -> None:
    assert store.list() == [] and not store.exists("a/b") and store.size("a/b") is None
    store.write("a/b", b"one")
    store.write("a/b", b"two!")
    store.write("a-c", b"")
    (tmp_path / "local").write_bytes(b"x" * 100_000)
    store.upload(tmp_path / "local", "a/d/e.bin")
    store.download("a/d/e.bin", tmp_path / "back" / "e.bin")
    assert store.read("a/b") == b"two!" and (tmp_path / "back/e.bin").read_bytes() == b"x" * 100_000
    assert store.sizes() == {"a-c": 0, "a/b": 4, "a/d/e.bin": 100_000}
    assert store.list("a") == ["a/b", "a/d/e.bin"] and store.list("absent") == []
    assert store.folders() == ["a"] and store.folders("a") == ["d"] and store.folders("absent") == []
    assert store.exists("a/b") and not store.exists("a") and store.size("a-c") == 0


def test_what_comes_in_chunks_is_there_when_they_end_and_not_before(store: Store) -> None:
    chunks = [b"one", b"", b"two" * 100_000]
    data = b"".join(chunks)

    def coming() -> Iterator[bytes]:
        yield from chunks
        assert not store.exists("a/b")

    store.put("a/b", coming(), len(data), sha256_bytes(data))
    store.put("empty", iter(()), 0, sha256_bytes(b""))
    assert store.read("a/b") == data and store.sizes() == {"a/b": len(data), "empty": 0}

    def failing() -> Iterator[bytes]:
        yield b"other"
        raise UserError("the last of it is damaged")

    for path in ("a/b", "a/c"):
        with pytest.raises(UserError, match="the last of it is damaged"):
            store.put(path, failing(), 5, sha256_bytes(b"other"))
    assert store.read("a/b") == data and store.list() == ["a/b", "empty"] and store.leftovers() == {}


def test_a_range_is_read_alone(store: Store) -> None:
    store.write("a/b", data := bytes(range(256)) * 4000)
    for start, stop in ((0, 1), (0, 10), (7, 300_000), (len(data) - 8, len(data))):
        assert store.read_range("a/b", start, stop) == data[start:stop]
    with pytest.raises(FileNotFoundError):
        store.read_range("absent", 0, 1)


def test_absence(store: Store, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            store.read("absent")
        with pytest.raises(FileNotFoundError):
            store.download("absent", tmp_path / "x")
        store.delete("absent")
    assert not (tmp_path / "x").exists()


def test_delete(store: Store) -> None:
    store.write("a", b"1")
    store.delete("a")
    assert not store.exists("a")


def test_many_are_deleted_and_absent_ones_are_passed_over(store: Store) -> None:
    for name in ("a/b", "a/c", "d e+f", "kept"):
        store.write(name, b"1")
    store.delete_many([])
    store.delete_many({"a/b", "a/c", "absent", "d e+f", "no/such"})
    assert store.list() == ["kept"]
    store.delete_many(["absent"])
    assert store.list() == ["kept"]


def test_many_are_read_and_absent_ones_are_left_out(store: Store) -> None:
    written = {f"a/{number:03d}": bytes([number]) * number for number in range(40)}
    for name, data in written.items():
        store.write(name, data)
    assert store.read_many([*written, "absent", "a/000", "no/such"]) == written
    assert store.read_many([]) == {} and store.read_many(["absent"]) == {}


def test_a_name_is_created_once_where_the_store_can(store: Store, request: pytest.FixtureRequest) -> None:
    assert store.create("a/b", b"first") and store.create("a/b", b"first")
    once = not store.create("a/b", b"second")
    assert once == ("rclone" not in request.node.name)
    assert store.read("a/b") == (b"first" if once else b"second")
    assert store.list() == ["a/b"]


def test_files_say_when_they_were_written(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(seconds=2)  # S3 counts whole seconds
    store.write("a/b", b"1")
    (path, written), *others = store.modified("a").items()
    assert path == "a/b" and not others and before <= written <= datetime.now(UTC) + timedelta(seconds=2)


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../../b"])
def test_paths_stay_inside(store: Store, path: str) -> None:
    for ask in (store.read, store.size, store.delete, store.list, store.folders, lambda path: store.write(path, b"")):
        with pytest.raises(UserError, match=r"leads out of the store; expected a path relative to it, without `\.\.`"):
            ask(path)
