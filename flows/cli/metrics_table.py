"""An evaluation as a table for people: what a run prints at its end."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.evaluate.measured import Metrics, shown, shown_with_interval, with_label


def metrics_table(metrics: Metrics) -> RenderableType:
    """One line per model and way of sampling it; under it what the numbers are of and the machine."""
    columns = with_label(metrics.records)
    headings = (metric.label or metric.heading for metric in columns)
    table = Table("model", "steps", "guidance", *headings, box=None, pad_edge=False)
    for record in metrics.records:
        numbers = (shown_with_interval(record, metric) for metric in columns)
        table.add_row(record.model, shown(record.steps), shown(record.guidance), *numbers)
    count, machine = metrics.protocol.get("num_images"), metrics.protocol.get("machine")
    beside = f"; times {metrics.beside}" if metrics.beside else ""
    return Group(table, Text(f"{count} pictures a line; {machine}{beside}"))
