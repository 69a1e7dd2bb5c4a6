"""How fast a list of prompts is read and compared: rows of a LAION-type file, and prompts against near duplicates."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Draft, Files
from infra.artifact.fingerprint import fingerprint
from infra.store import open_store
from tasks.data.near_duplicates import near_duplicates
from tasks.data.prompt_filters import columns
from tasks.data.prompt_parquet import parquet_pieces
from tasks.data.prompt_reading import Reading
from tasks.sections import PromptFilters, PromptsJob
from tests.benchmarks.row import Options, Row, at_least
from tests.tasks.data.prompt_files import laion, sentences

ROUNDS, ROWS, COMPARED = 3, 100_000, 10_000
LEAST_READ, LEAST_COMPARED = 50_000, 5_000
FILTERS = PromptFilters(min_similarity=0.3, languages=("en",), min_width=512, max_punsafe=0.5)


def measure(options: Options) -> list[Row]:
    """Rows per second with every text wanted and with filters, and prompts per second among near duplicates."""
    texts = sentences(ROWS)
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        path = Path(folder) / "laion.parquet"
        pq.write_table(pa.table(laion(list(texts))), path, row_group_size=ROWS // 2)
        every = [_rate(ROWS, lambda: _read(path, PromptFilters())) for _ in range(ROUNDS)]
        some = [_rate(ROWS, lambda: _read(path, FILTERS)) for _ in range(ROUNDS)]
    compared = [_rate(COMPARED, lambda: near_duplicates(texts[:COMPARED], 0.8)) for _ in range(ROUNDS)]
    detail = f"{ROWS:,} rows of a local file, {{}}; median of {ROUNDS} (range)"
    return [
        at_least("prompts read, rows/s per core", every, LEAST_READ, detail.format("no filter")),
        at_least(
            "prompts read with filters, rows/s per core", some, LEAST_READ, detail.format("one row in ten passes")
        ),
        at_least("prompts compared, 1/s per core", compared, LEAST_COMPARED, f"near duplicates among {COMPARED:,}"),
    ]


def _rate(count: int, work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return count / (time.perf_counter() - started)


def _read(path: Path, filters: PromptFilters) -> None:
    config = PromptsJob(source="parquet", path=str(path), filters=filters)
    with Draft(open_store(path.parent / "store"), "prompts", fingerprint("prompts", 1, {}, {})) as draft:
        reading = Reading.resumed(config, frozenset(), draft, ROWS)
        reading.read(parquet_pieces(Files.open(str(path)), columns(config)), lambda size: None)
        assert reading.counts["read"] == ROWS
