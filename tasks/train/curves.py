"""Training curves as Parquet, so that DuckDB, pandas or Grafana read them from the store."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.train.fit import CurvePoint


def write_curve(path: Path, phases: Sequence[Sequence[CurvePoint]]) -> Path:
    """Write columns phase, step (through all phases), loss, gradient_norm, learning_rate; gives ``path`` back."""
    rows, before = [], 0
    for number, curve in enumerate(phases):
        rows += [{"phase": number, **point._asdict(), "step": before + point.step} for point in curve]
        before = rows[-1]["step"]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path
