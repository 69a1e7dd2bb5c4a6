"""An evaluation as a table for people: what a run prints at its end."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.measured import Measured, Metrics, shown

_COLUMNS = {
    "Frechet": ("frechet_distance", ""),
    "CLIP": ("clip_score", ""),
    "attributes": ("attribute_accuracy", "%"),
    "S": ("straightness", ""),
    "to own teacher": ("distance_to_own_teacher", ""),
    "latency": ("seconds_per_image", "s"),
    "images/s": ("images_per_second", ""),
}


def metrics_table(metrics: Metrics) -> RenderableType:
    """One line per model and number of steps; under it what the numbers are of and the machine."""
    table = Table("model", "steps", "guidance", *_COLUMNS, box=None, pad_edge=False)
    for record in metrics.records:
        table.add_row(record.model, str(record.steps), f"{record.guidance:g}", *_cells(record))
    count, machine = metrics.protocol.get("num_images"), metrics.protocol.get("machine")
    return Group(table, Text(f"{count} pictures a line; {machine}"))


def _cells(record: Measured) -> list[str]:
    return [shown(record.number(name), unit) for name, unit in _COLUMNS.values()]
