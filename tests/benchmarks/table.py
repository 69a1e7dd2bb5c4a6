"""The table: rich on a terminal, Markdown anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.benchmarks.row import NOT_MEASURED, Row

HEAD = ("number", "measured", "target", "met", "how")
_STYLE = {"yes": "green", "NO": "bold red", NOT_MEASURED: "yellow"}


def show(rows: Sequence[Row], machine: Mapping[str, str]) -> None:
    """Print the machine, every row, and the count of what is met, missed and not measured."""
    screen = Console()
    if screen.is_terminal:
        screen.print(_rich(rows, machine))
        screen.print(_sum(rows), highlight=False)
    else:
        sys.stdout.write("\n".join([*_markdown(rows, machine), "", _sum(rows), ""]))


def _rich(rows: Sequence[Row], machine: Mapping[str, str]) -> Table:
    caption = "\n".join(f"{name}: {value}" for name, value in machine.items())
    table = Table(*HEAD, caption=escape(caption), caption_justify="left", show_lines=True)
    for row in rows:
        cells = [escape(cell) for cell in _cells(row)]
        cells[3] = f"[{_STYLE[row.verdict]}]{row.verdict}" if row.verdict else ""
        table.add_row(*cells)
    return table


def _markdown(rows: Sequence[Row], machine: Mapping[str, str]) -> Iterator[str]:
    lines = [HEAD, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD) - 1)] + [0]
    yield from (f"{name + ':':<8}{value}" for name, value in machine.items())
    yield ""
    for number, line in enumerate(lines):
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in [*widths[:-1], len(HEAD[-1])]) + "|"


def _cells(row: Row) -> tuple[str, ...]:
    cells = (row.name, row.measured, row.target, row.verdict, row.detail)
    return tuple(" ".join(cell.replace("|", "/").split()) for cell in cells)


def _sum(rows: Sequence[Row]) -> str:
    aimed = [row for row in rows if row.target]
    missed = [row.name for row in aimed if row.met is False]
    text = f"{sum(row.met is True for row in aimed)} of {len(aimed)} targets met, {len(missed)} missed"
    text += f" ({', '.join(missed)})" if missed else ""
    return f"{text}, {sum(row.met is None for row in aimed)} not measured"
