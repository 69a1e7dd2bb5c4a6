"""An evaluation as a table for people: what a run prints at its end."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.evaluate.measured import Measured, Metrics, shown_with_interval
from tasks.evaluate.metrics import METRICS

_COLUMNS = [metric for metric in METRICS if metric.label]


def metrics_table(metrics: Metrics) -> RenderableType:
    """One line per model and number of steps; under it what the numbers are of and the machine."""
    table = Table("model", "steps", "guidance", *(metric.label for metric in _COLUMNS), box=None, pad_edge=False)
    for record in metrics.records:
        table.add_row(record.model, str(record.steps), f"{record.guidance:g}", *_cells(record))
    count, machine = metrics.protocol.get("num_images"), metrics.protocol.get("machine")
    return Group(table, Text(f"{count} pictures a line; {machine}"))


def _cells(record: Measured) -> list[str]:
    return [shown_with_interval(record, metric) for metric in _COLUMNS]
