"""A pass over a source: every row is accounted for, memory does not grow with the rows, a killed pass goes on."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from infra.artifact import Draft
from infra.store.local import LocalStore
from tasks.data import prompt_reading as module
from tasks.data.prompt_filters import TEXT
from tasks.data.prompt_reading import Reading
from tasks.data.prompt_sources import ROW, Piece
from tasks.sections import PromptFilters, PromptsJob
from tests import ROOT
from tests.tasks.data.prompt_files import sentences

JOB = PromptsJob(source="parquet", path="x", filters=PromptFilters(languages=("en",)), min_characters=3)
TEXTS = sentences(300)
FINGERPRINT = "f" * 64


class Killed(BaseException):
    """Stands for kill -9."""


def piece(texts: list[str | None], file: int, reads: list[int]) -> Piece:
    def read() -> Iterator[tuple[pa.Table, float]]:
        reads.append(file)
        for start in range(0, len(texts), 10):
            some = texts[start : start + 10]
            columns = {"prompts.column": pa.array(some, TEXT), "prompts.columns.language": ["en"] * len(some)}
            yield pa.table({**columns, ROW: range(start, start + len(some))}), (start + len(some)) / len(texts)

    return Piece(file, 100, read)


def started(folder: Path, limit: int = 40, excluded: frozenset[str] = frozenset()) -> Reading:
    return Reading.resumed(JOB, excluded, Draft(LocalStore(folder), "prompts", FINGERPRINT), limit)


def test_every_row_is_counted_once(tmp_path: Path) -> None:
    texts = [None, " ", "no", "x" * 1001, "A cat.", "a Cat", *TEXTS[:30]]
    reading = started(tmp_path, excluded=frozenset({"acat"}))
    told: list[float] = []
    reading.read([piece(texts, 0, [])], told.append)
    expected = {"read": 36, "languages": 0, "empty": 2, "too_short": 1, "too_long": 1, "evaluation_caption": 2}
    assert reading.counts == expected and reading.sample.table.num_rows == 30
    assert told == [pytest.approx(100 * share / 36) for share in (10, 20, 30, 36)]


def test_the_order_of_the_pieces_does_not_matter(tmp_path: Path) -> None:
    pieces = [piece(TEXTS[start : start + 50], start // 50, []) for start in range(0, 300, 50)]
    one, other = started(tmp_path / "1"), started(tmp_path / "2")
    one.read(pieces, lambda size: None)
    other.read(random.Random(0).sample(pieces, len(pieces)), lambda size: None)
    assert one.sample.table.equals(other.sample.table) and one.counts == other.counts


def test_a_killed_pass_goes_on_after_its_last_whole_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAVE_EVERY_S", 0.0)
    reads: list[int] = []
    pieces = [piece(TEXTS[start : start + 50], start // 50, reads) for start in range(0, 300, 50)]

    def killed_at(size: float) -> None:
        if size > 330:
            raise Killed

    with pytest.raises(Killed):
        started(tmp_path / "killed").read(pieces, killed_at)
    again = started(tmp_path / "killed")
    assert again.done == 3 and again.counts["read"] == 150
    again.read(pieces, lambda size: None)
    assert reads == [0, 1, 2, 3, 3, 4, 5], "only the piece that was cut short is read again"
    whole = started(tmp_path / "whole")
    whole.read(pieces, lambda size: None)
    assert again.sample.table.equals(whole.sample.table) and again.counts == whole.counts
    assert started(tmp_path / "killed", limit=41).done == 0, "another number of candidates is another pass"


def test_between_two_checkpoints_lie_ten_minutes(tmp_path: Path) -> None:
    reading = started(tmp_path)
    reading.read([piece(TEXTS[:20], file, []) for file in range(3)], lambda size: None)
    assert reading.done == 3 and LocalStore(tmp_path).list() == []


def test_enough_is_enough(tmp_path: Path) -> None:
    reading = started(tmp_path, limit=25)
    reading.read([piece(TEXTS, 0, [])], lambda size: None, enough=True)
    assert reading.counts["read"] == 30 and len(reading.sample.table) == 25


PEAK = """
import sys
from pathlib import Path
import pyarrow.parquet as pq
from infra.artifact import Draft, Files
from infra.store.local import LocalStore
from tasks.data.prompt_filters import columns
from tasks.data.prompt_parquet import parquet_pieces
from tasks.data.prompt_reading import Reading
from tasks.sections import PromptsJob
path, out = sys.argv[1:]
job = PromptsJob(source="parquet", path=path)
reading = Reading.resumed(job, frozenset(), Draft(LocalStore(Path(out)), "prompts", "f" * 64), 2000)
reading.read(parquet_pieces(Files.open(path), columns(job)), lambda size: None)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(reading.counts["read"], int(peak.split()[1]) / 1024)
"""
MARGIN_MB = 60.0


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    """Ten times the rows (110 MB of text), in one row group as in many: the same peak of resident memory."""
    import pyarrow.parquet as pq

    peaks = {}
    for name, count, group in (("small", 25_000, 5_000), ("large", 250_000, 5_000), ("one group", 250_000, 250_000)):
        with pq.ParquetWriter(tmp_path / f"{name}.parquet", pa.schema({"TEXT": pa.string()})) as writer:
            texts = pa.array([f"{n} " + "some words " * 40 for n in range(count)])
            writer.write_table(pa.table({"TEXT": texts}), row_group_size=group)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", PEAK, str(tmp_path / f"{name}.parquet"), str(tmp_path / "store")]
        run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        read, peaks[name] = int(run.stdout.split()[0]), float(run.stdout.split()[1])
        assert read == count
    assert peaks["large"] - peaks["small"] < MARGIN_MB and peaks["one group"] - peaks["small"] < MARGIN_MB, peaks
