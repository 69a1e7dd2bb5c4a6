"""A training curve is a table whose steps count through the phases."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from tasks.train.curves import write_curve
from tasks.train.fit import CurvePoint


def test_steps_count_through_the_phases(tmp_path: Path) -> None:
    first = [CurvePoint(25, 0.5, 1.5, 1e-3), CurvePoint(30, 0.25, 1.0, 1e-3)]
    second = [CurvePoint(25, 4.0, 2.0, 1e-4), CurvePoint(26, 3.0, 2.5, 5e-5)]
    third = [CurvePoint(2, 1.0, 1.0, 1e-5)]
    path = write_curve(tmp_path / "curve.parquet", [first, second, third])
    assert path == tmp_path / "curve.parquet"
    table = pq.read_table(path)
    assert table.column_names == ["phase", "step", "loss", "gradient_norm", "learning_rate"]
    assert [*zip(*table.to_pydict().values(), strict=True)] == [
        (0, 25, 0.5, 1.5, 1e-3), (0, 30, 0.25, 1.0, 1e-3), (1, 55, 4.0, 2.0, 1e-4), (1, 56, 3.0, 2.5, 5e-5),
        (2, 58, 1.0, 1.0, 1e-5),
    ]  # fmt: skip
