"""`python -m tests.benchmarks [NAME ...]`: measure, then print one table with the machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from infra.errors import UserError
from tests.benchmarks.row import Options, Row

NAMES = (
    "setup",
    "demo",
    "cached",
    "orchestration",
    "suite",
    "quality",
    "seeds",
    "prompts",
    "pairs",
    "plan",
    "dashboard",
    "restart",
    "verify",
    "transfers",
    "shards",
    "reads",
    "scale",
    "memory",
    "first_batch",
    "pictures",
    "contention",
    "ranks",
    "placement",
)


def measured(name: str, options: Options) -> list[Row]:
    """The rows of one benchmark, a module of this folder; one that fails is a target missed, not a silence."""
    measure: Callable[[Options], list[Row]] = import_module(f"tests.benchmarks.{name}").measure
    try:
        return measure(options)
    except UserError as error:
        return [Row(name, "failed", "runs", False, str(error))]


def bench(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help=f"of {', '.join(NAMES)}")] = None,
    store: Annotated[Path, typer.Option(help="where `make demo` left its artifacts")] = Path("demo/store"),
    teacher: Annotated[str, typer.Option(help='a diffusers folder to make pairs with, "mini" is embedded')] = "mini",
    samples: Annotated[int, typer.Option(min=1, help="pairs made in each round")] = 256,
    setup: Annotated[bool, typer.Option("--setup", help="time a fresh clone and a fresh .venv")] = False,
    demo: Annotated[bool, typer.Option("--demo", help="time the whole miniature run in an empty store")] = False,
    tests: Annotated[bool, typer.Option("--tests", help="time the test suite")] = False,
) -> None:
    """Print the project's numbers, what they should be, and the machine."""
    unknown = sorted({*(names or ())} - {*NAMES})
    if unknown:
        raise UserError(f"there is no benchmark {', '.join(unknown)}; expected any of {', '.join(NAMES)}")
    from tests.benchmarks.machine import machine
    from tests.benchmarks.table import show

    found, options = machine(), Options(store, teacher, samples, setup, demo, tests)  # the load before, not after
    rows: list[Row] = []
    for name in names or NAMES:
        if sys.stderr.isatty():  # a line and no spinner, which would take time from what is measured
            print(f"measuring {name} ...", file=sys.stderr)
        rows += measured(name, options)
    show(rows, found)


if __name__ == "__main__":
    try:
        typer.run(bench)
    except UserError as error:
        sys.exit(f"bench: {error}")
