"""Mapped tables: the rows of the file, made once a machine, shared, and never taken damaged."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact, Draft
from infra.artifact import mapped as module
from infra.artifact.fingerprint import fingerprint
from infra.artifact.mapped import ROWS, Rows, mapped
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, open_store
from tests import ROOT
from tests.infra.counted import copies

STORES = ("local", "rclone")
COUNT = ROWS + 100
ROW = pa.schema({"text": pa.string()})


def numbers(store: Store) -> Artifact:
    with Draft(store, "prompts", fingerprint("prompts", 1, {}, {})) as draft:
        path = draft.workdir / "rows.parquet"
        pq.write_table(pa.table({"number": range(COUNT), "text": [f"text {n}" for n in range(COUNT)]}), path)
        draft.commit_unit("rows", {path.name: path})
        return draft.finish(["rows"], 1, {}, {}, {}, {}, utc_now())


def texts(file: pq.ParquetFile) -> Rows:
    return ROW, file.iter_batches(ROWS, columns=["text"])


def made() -> list[Path]:
    return [path for path in copies() if "derived" in path.parts]


def test_it_has_the_rows_and_is_made_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = numbers(store)
    with ThreadPoolExecutor(4) as pool:
        tables = [*pool.map(lambda _: mapped(artifact, "rows.parquet", "texts-1", texts), range(4))]
    for table in tables:
        assert table.schema == ROW and table["text"].num_chunks == 2
        assert [table["text"][n].as_py() for n in (0, ROWS, COUNT - 1)] == [f"text {n}" for n in (0, ROWS, COUNT - 1)]
    (path,) = made()
    monkeypatch.setattr(module, "_write", None)
    assert len(mapped(artifact, "rows.parquet", "texts-1", texts)) == COUNT
    assert made() == [path]


def test_another_form_of_the_same_file_is_another(store: Store) -> None:
    artifact = numbers(store)
    mapped(artifact, "rows.parquet", "texts-1", texts)
    schema = pa.schema({"number": pa.int64()})
    other = mapped(artifact, "rows.parquet", "numbers-1", lambda file: (schema, file.iter_batches(columns=["number"])))
    assert other["number"].to_pylist() == [*range(COUNT)] and len(made()) == 2


def test_a_damaged_one_is_made_again(store: Store) -> None:
    artifact = numbers(store)
    mapped(artifact, "rows.parquet", "texts-1", texts)
    (path,) = made()
    content = path.read_bytes()
    path.unlink()  # the map above keeps the old file
    path.write_bytes(content[:5000] + b"#" + content[5001:])
    again = mapped(artifact, "rows.parquet", "texts-1", texts)
    assert again["text"].to_pylist() == [f"text {n}" for n in range(COUNT)]
    assert made() == [path] and path.read_bytes() == content


def test_it_counts_as_held_and_what_is_mapped_stays_readable(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = numbers(store)
    table = mapped(artifact, "rows.parquet", "texts-1", texts)
    monkeypatch.setenv("INSTAFLOW_CACHE_BYTES", "1")
    (first,) = made()
    mapped(artifact, "rows.parquet", "texts-2", texts)
    assert len(made()) == 1 and first not in made(), "the next one needs its room"
    assert table["text"].to_pylist() == [f"text {n}" for n in range(COUNT)]


def test_what_the_making_raises_comes_through_and_nothing_is_left(store: Store) -> None:
    def refused(file: pq.ParquetFile) -> Rows:
        raise UserError("no rows")

    with pytest.raises(UserError, match="no rows"):
        mapped(numbers(store), "rows.parquet", "texts-1", refused)
    assert not made()


_SHARE = """
import sys
import psutil
from infra.artifact import Artifact
from infra.store import open_store
from tests.infra.artifact.test_mapped import mapped, texts
made = Artifact.find(open_store("."), sys.argv[1])
table = mapped(made, "rows.parquet", "texts-1", texts)
assert sum(len(text.as_py()) for text in table["text"]) > 0
print("ready", flush=True)
sys.stdin.readline()
shared = [one for one in psutil.Process().memory_maps() if "derived" in one.path]
print(sum(one.pss for one in shared), sum(one.private_dirty for one in shared), flush=True)
sys.stdin.readline()
"""


def _answer(run: subprocess.Popen[str]) -> list[int]:
    assert run.stdin and run.stdout
    run.stdin.write("\n")
    run.stdin.flush()
    return [*map(int, run.stdout.readline().split())]


@pytest.mark.skipif(sys.platform != "linux", reason="what a process shares is told by /proc")
def test_two_processes_hold_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))
    artifact = numbers(open_store(tmp_path / "store"))
    command = [sys.executable, "-c", _SHARE, artifact.uri]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for run in runs:
            assert run.stdout and run.stdout.readline() == "ready\n"
        found = [_answer(run) for run in runs]  # while both have it mapped
    finally:
        for run in runs:
            run.kill()
            run.wait()
    (path,) = made()
    size = path.stat().st_size
    assert 0.8 * size < sum(pss for pss, _ in found) < 1.2 * size and not any(dirty for _, dirty in found)
