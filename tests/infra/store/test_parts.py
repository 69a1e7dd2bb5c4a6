"""A large file goes up in parts and comes down in a stream: a failure costs a part or the rest, not all."""

from __future__ import annotations

import os
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.artifact.fingerprint import sha256_bytes, sha256_file
from infra.store import Store, StoreError
from infra.store.remote import RemoteStore
from tests.faults import Fault, FaultyProxy
from tests.infra.reaching import gone_for_good, new_store, use
from tests.s3 import S3Server


def test_a_transfer_longer_than_the_patience_gets_through_a_line_that_breaks(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"INSTAFLOW_STORE_PATIENCE_S": "3", "AWS_MAX_ATTEMPTS": "1"}.items():
        monkeypatch.setenv(name, value)
    store = RemoteStore(new_store().url, part_bytes=100_000)
    data = os.urandom(850_000)
    (tmp_path / "large").write_bytes(data)
    proxy.strike(Fault.BREAK, seconds=1000)
    store.upload(tmp_path / "large", "a/large")
    sent = Counter(line.split()[1] for line in proxy.asked if "partNumber" in line)
    assert len(sent) == 9 and 9 < sent.total() < 18, "only the parts that broke are sent again"
    proxy.asked.clear()
    store.download("a/large", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data and len(proxy.asked) > 1
    assert store.leftovers() == {}


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.LOST, Fault.CUT])
def test_any_request_of_an_upload_in_parts_may_fail(
    fault: Fault, proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store = RemoteStore(new_store().url, part_bytes=100_000)
    (tmp_path / "large").write_bytes(data := os.urandom(250_000))
    proxy.strike_first(fault)
    store.upload(tmp_path / "large", "a")
    assert proxy.struck[fault] >= 5 and store.read("a") == data
    assert len(store.leftovers()) <= 1, "an upload whose name was lost in an answer is left to gc"


def test_an_upload_that_fails_for_good_leaves_no_part(
    proxy: FaultyProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone_for_good(monkeypatch)
    store = RemoteStore(new_store().url, part_bytes=100_000)
    store.write("a", b"old")
    (tmp_path / "large").write_bytes(bytes(350_000))
    proxy.strike_where("partNumber=3", Fault.SLOW_DOWN)
    with pytest.raises(StoreError, match=r"cannot write a: HTTP 503 SlowDown.*tried \d+ times"):
        store.upload(tmp_path / "large", "a")
    assert store.leftovers() == {} and store.read("a") == b"old"


def in_chunks(data: bytes, size: int = 70_000) -> Iterator[bytes]:
    """The bytes as they come from another store."""
    return (data[start : start + size] for start in range(0, len(data), size))


@pytest.mark.parametrize("fault", [Fault.SLOW_DOWN, Fault.RESET, Fault.LOST, Fault.CUT])
def test_any_request_for_what_is_passed_on_may_fail(
    fault: Fault, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    store, data = RemoteStore(new_store().url, part_bytes=100_000), os.urandom(250_000)
    proxy.strike_first(fault)
    store.put("a", in_chunks(data), len(data), sha256_bytes(data))
    assert proxy.struck[fault] >= 5 and store.read("a") == data


def test_what_is_damaged_on_its_way_is_not_joined(proxy: FaultyProxy) -> None:
    store, data = RemoteStore(new_store().url, part_bytes=100_000), bytes(350_000)

    def damaged() -> Iterator[bytes]:
        yield from in_chunks(data)
        raise ValueError("another sha256")

    with pytest.raises(ValueError, match="another sha256"):
        store.put("a", damaged(), len(data), sha256_bytes(data))
    assert store.list() == [] and store.leftovers() == {}
    assert not [line for line in proxy.asked if line.startswith("POST") and "uploadId=" in line], "nothing is joined"


@pytest.mark.parametrize("passed_on", [False, True], ids=["uploaded", "passed on"])
@pytest.mark.parametrize("size", [0, 99_999, 100_000, 100_001, 1_234_567])
def test_a_file_of_any_size_is_the_same_there(size: int, passed_on: bool, proxy: FaultyProxy, tmp_path: Path) -> None:
    store = RemoteStore(new_store().url, part_bytes=100_000)
    (tmp_path / "file").write_bytes(data := os.urandom(size))
    if passed_on:
        store.put("a b/c+d.html", in_chunks(data), size, sha256_bytes(data))
    else:
        store.upload(tmp_path / "file", "a b/c+d.html")
    assert len(proxy.asked) == (1 if size <= 100_000 else 2 + -(-size // 100_000))
    assert b"".join(store.chunks("a b/c+d.html")) == data == store.read("a b/c+d.html")
    assert store._fs.info(store._path("a b/c+d.html"))["ContentType"] == "text/html"


def test_the_smallest_parts_that_s3_takes_are_joined(s3: Store, tmp_path: Path) -> None:
    store = RemoteStore(s3.url, part_bytes=5 << 20)
    (tmp_path / "file").write_bytes(data := os.urandom(11_000_000))
    store.upload(tmp_path / "file", "a")
    store.download("a", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data and store.leftovers() == {}


def test_memory_is_bounded_by_the_parts(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(rclone, rclone.endpoint, monkeypatch, tmp_path)
    store = RemoteStore(new_store().url, part_bytes=1_000_000)
    (tmp_path / "file").write_bytes(os.urandom(48_000_000))
    store.write("first", b"connects")
    sha256 = sha256_file(tmp_path / "file")
    tracemalloc.start()
    store.upload(tmp_path / "file", "a")
    store.download("a", tmp_path / "back")
    store.put("b", store.chunks("a"), 48_000_000, sha256)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 24_000_000 and (tmp_path / "back").stat().st_size == 48_000_000


def test_what_is_replaced_while_it_is_read_is_not_joined(proxy: FaultyProxy) -> None:
    store = new_store()
    store.write("a", bytes(3_000_000))
    proxy.strike_first(Fault.CUT)
    chunks = store.chunks("a")
    assert next(chunks)
    store.write("a", b"1" * 3_000_000)
    with pytest.raises(StoreError, match="cannot read a: OSError: it was replaced while it was read"):
        b"".join(chunks)


def test_a_file_that_is_not_there_to_be_sent(proxy: FaultyProxy, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot write a: FileNotFoundError"):
        new_store().upload(tmp_path / "absent", "a")
