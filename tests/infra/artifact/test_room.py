"""Room is made within the limit, of what the cache wrote and nothing else, without looking at every copy each time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from infra.artifact import room
from infra.artifact.cache import fetch
from infra.artifact.cache_folder import cache_folder
from infra.artifact.fingerprint import sha256_bytes
from infra.artifact.manifest import FileRecord
from infra.artifact.room import cache_limit_bytes
from infra.errors import UserError
from infra.store import Store, open_store
from tests import ROOT
from tests.infra.counted import aged, copies, unused_s

SIZE = 1000


@pytest.fixture
def away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A remote store, and a folder in which somebody has files, where the cache is to be."""
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "place"))
    (tmp_path / "place").mkdir()
    (tmp_path / "place" / "thesis.tex").write_text("three years")
    return open_store(f"memory://bucket{tmp_path}")


def bring(store: Store, number: int) -> Path:
    data = number.to_bytes(4) * (SIZE // 4)
    store.write(f"pairs/0/data/f{number}", data)
    return fetch(store, "pairs/0", FileRecord(path=f"data/f{number}", sha256=sha256_bytes(data), bytes=SIZE))


def test_what_the_cache_did_not_write_stays(away: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bring(away, 0)
    theirs = [tmp_path / "place" / "thesis.tex", cache_folder() / "notes.txt", first.parent / "notes.txt"]
    for path in theirs:
        path.write_text("three years")
        aged(path, 1e6)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    last = bring(away, 1)
    assert last.exists() and not first.exists()
    assert all(path.read_text() == "three years" for path in theirs)


def test_files_that_arrive_stay_and_abandoned_ones_go(away: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(away, 0)
    old, new = (cache_folder() / room._ARRIVING / name for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(bytes(SIZE))
    aged(old, 2 * room._ABANDONED_S)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    bring(away, 1)
    assert new.exists() and not old.exists()


def test_threads_that_take_one_anothers_room_all_get_their_copy(away: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(10 * SIZE))
    for start in range(0, 400, 40):
        with ThreadPoolExecutor(8) as pool:
            assert len([*pool.map(partial(bring, away), range(start, start + 40))]) == 40
        assert 5 <= len(copies()) <= 10, "what is on its way counts once"


@pytest.mark.parametrize("limit", [10**12, 60 * SIZE])
def test_the_work_is_as_much_for_each_of_many_copies(away: Store, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Far below the limit and at it. Looking at all copies for each of them made 800 copies take 26 s."""
    real, looked_at = room._held, []

    def held(folder: Path) -> list[tuple[int, str, int]]:
        found = real(folder)
        looked_at.append(len(found))
        return found

    monkeypatch.setattr(room, "_held", held)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(limit))
    count = 240
    for number in range(count):
        bring(away, number)
    assert {path.name for path in copies()} == {f"f{number}" for number in range(max(0, count - limit // SIZE), count)}
    assert sum(looked_at) <= 66 * count


_BRING = """
import sys
from tests.infra.artifact.test_room import bring
from infra.store import open_store
for number in range(100, 120):
    bring(open_store("memory://other"), number)
"""


def test_what_another_process_brought_is_seen(away: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(20 * SIZE))
    bring(away, 0)
    subprocess.run([sys.executable, "-c", _BRING], cwd=ROOT, check=True, timeout=120)
    for number in range(1, 20):
        bring(away, number)
        assert len(copies()) <= 20
    assert {f"f{number}" for number in range(1, 20)} <= {path.name for path in copies()}, "theirs were older"


def test_copies_may_be_deleted_by_hand(away: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", str(4 * SIZE))
    for number in range(4):
        bring(away, number)
    copies()[0].unlink()
    shutil.rmtree(cache_folder() / room._USED)
    assert unused_s(bring(away, 3)) < 3600
    shutil.rmtree(cache_folder())
    for number in range(8):
        assert bring(away, number).stat().st_size == SIZE
    assert [path.name for path in copies()] == ["f4", "f5", "f6", "f7"]


@pytest.mark.parametrize(("text", "size"), [("200GB", 200 * 10**9), ("1.5 GiB", 3 * 2**29), ("5000", 5000)])
def test_the_limit_is_a_size(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", text)
    assert cache_limit_bytes() == size


def test_a_limit_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "nothing" / "yet"))
    assert 0 < cache_limit_bytes() < shutil.disk_usage(tmp_path).free
    for text in ("much", "-1", "10 cows"):
        monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", text)
        with pytest.raises(UserError, match=f"INSTAFLOW_CACHE_BYTES={text}: expected a size, for instance 200GB"):
            cache_limit_bytes()
