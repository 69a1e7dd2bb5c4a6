"""One number: what was measured, what was promised, and whether that is met."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """A line of the table. `met` is None for a number without a target and for one that was not measured."""

    name: str
    measured: str
    target: str = ""
    met: bool | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        """What the column "met" says."""
        if self.met is None:
            return NOT_MEASURED if self.measured == NOT_MEASURED else ""
        return "yes" if self.met else "NO"


@dataclass(frozen=True)
class Options:
    """What to measure with. `teacher` is a diffusers folder, or "mini" for the embedded one."""

    store: Path
    teacher: str = "mini"
    samples: int = 256
    setup: bool = False
    demo: bool = False
    tests: bool = False


def not_measured(name: str, target: str, remedy: str) -> Row:
    """The row of a number that is not there, and what to do about it."""
    return Row(name, NOT_MEASURED, target, None, remedy)


def at_most(name: str, seconds: float, limit_s: float, detail: str = "") -> Row:
    """The row of a time with a limit."""
    return Row(name, duration(seconds), f"at most {duration(limit_s)}", seconds <= limit_s, detail)


def at_least(name: str, rates: Sequence[float], least: float, detail: str = "") -> Row:
    """The row of a rate with a target, met by the median."""
    return Row(name, spread(rates), f"at least {least:,g}", statistics.median(rates) >= least, detail)


def at_least_of(name: str, rates: Sequence[float], limits: Sequence[float], least: float, detail: str = "") -> Row:
    """The row of a share of the limit that was measured beside each rate, met by the median.

    Another program that runs at the same time slows both alike.
    """
    shares = [rate / limit for rate, limit in zip(rates, limits, strict=True)]
    return at_least(name, shares, least, f"{spread(rates)} of {spread(limits)}; {detail}")


def at_most_times(name: str, ratios: Sequence[float], most: float, detail: str = "") -> Row:
    """The row of a ratio with a limit, kept by the median."""
    return Row(name, f"{spread(ratios)} x", f"at most {most:g} x", statistics.median(ratios) <= most, detail)


def duration(seconds: float) -> str:
    """E.g. `8.4 s`, `7 min 05 s`."""
    if round(seconds) < 60:
        return f"{seconds:.3g} s"
    return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"


def spread(values: Sequence[float]) -> str:
    """Median and range: `1.04 (1.03 to 1.06)`."""
    return f"{_number(statistics.median(values))} ({_number(min(values))} to {_number(max(values))})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
