"""Small charts as SVG that takes its colours from the page: points, lines and bars, with their axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from tasks.evaluate.measured import shown

WIDTH, HEIGHT = 420, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 40
COLOURS = 6
"""Colours of series, by the classes `series-0` ... of the style sheet."""


@dataclass(frozen=True)
class Point:
    """A point with its name for people; `interval` is half the height of its bar."""

    x: float
    y: float
    name: str
    series: int = 0
    interval: float | None = None


@dataclass(frozen=True)
class Axis:
    """From the least to the most, perhaps logarithmic, to pixels."""

    name: str
    least: float
    most: float
    is_log: bool
    start: int
    end: int

    def at(self, value: float) -> float:
        """The pixel of a value, at the nearest end for one beyond."""
        low, high, here = (math.log10(one) if self.is_log else one for one in (self.least, self.most, self._in(value)))
        return self.start + (self.end - self.start) * (here - low) / ((high - low) or 1.0)

    def ticks(self) -> Iterator[tuple[float, str]]:
        """Pixel and text of a few round values."""
        for value in _decades(self.least, self.most) if self.is_log else _round(self.least, self.most):
            yield self.at(value), shown(value)

    def _in(self, value: float) -> float:
        return min(max(value, self.least), self.most)


def points(title: str, found: Sequence[Point], x: str, y: str, *, log_x: bool = False, log_y: bool = False) -> Markup:
    """Points with their intervals; empty where there are fewer than two that can be shown."""
    there = [one for one in found if (not log_x or one.x > 0) and (not log_y or one.y > 0)]
    if len(there) < 2:
        return Markup("")
    across = _axis(x, [one.x for one in there], log_x, LEFT, WIDTH - RIGHT)
    reach = [one.y + sign * (one.interval or 0.0) for one in there for sign in (-1, 0, 1)]
    up = _axis(y, [one for one in reach if one > 0 or not log_y], log_y, HEIGHT - BOTTOM, TOP)
    drawn = Markup("").join(_dot(one, across, up) for one in there)
    return _chart(title, across, up, drawn)


def lines(title: str, found: Sequence[tuple[str, Sequence[tuple[float, float]]]], x: str, y: str) -> Markup:
    """A line for each series over a logarithmic axis; empty where no value is positive."""
    there = [(name, [(at, value) for at, value in line if value > 0]) for name, line in found]
    if not any(len(line) > 1 for _, line in there):
        return Markup("")
    across = _axis(x, [at for _, line in there for at, _ in line], False, LEFT, WIDTH - RIGHT)
    up = _axis(y, [value for _, line in there for _, value in line], True, HEIGHT - BOTTOM, TOP)
    drawn = Markup("").join(
        Markup('<polyline class="series-{}" points="{}"><title>{}</title></polyline>').format(
            number % COLOURS, " ".join(f"{across.at(at):.1f},{up.at(value):.1f}" for at, value in line), name
        )
        for number, (name, line) in enumerate(there)
    )
    return _chart(title, across, up, drawn)


def bars(title: str, counts: Sequence[int], least: float, most: float, x: str) -> Markup:
    """A histogram from the least to the most value; empty without one."""
    if not any(counts):
        return Markup("")
    across = Axis(x, least, most, False, LEFT, WIDTH - RIGHT)
    up = _axis("count", [0.0, float(max(counts))], False, HEIGHT - BOTTOM, TOP)
    wide = (WIDTH - RIGHT - LEFT) / len(counts)
    drawn = Markup("").join(
        Markup('<rect class="series-0" x="{}" y="{}" width="{}" height="{}"/>').format(
            f"{LEFT + number * wide:.1f}",
            f"{up.at(count):.1f}",
            f"{max(wide - 1, 0.5):.1f}",
            f"{HEIGHT - BOTTOM - up.at(count):.1f}",
        )
        for number, count in enumerate(counts)
    )
    return _chart(title, across, up, drawn)


def thinned(line: Sequence[tuple[float, float]], most: int = 160) -> list[tuple[float, float]]:
    """A line of at most so many points, each the mean of those it stands for."""
    every = -(-len(line) // most) or 1
    groups = (line[start : start + every] for start in range(0, len(line), every))
    return [(sum(at for at, _ in some) / len(some), sum(value for _, value in some) / len(some)) for some in groups]


def _dot(one: Point, across: Axis, up: Axis) -> Markup:
    x, y, series = f"{across.at(one.x):.1f}", f"{up.at(one.y):.1f}", one.series % COLOURS
    bar = Markup("")
    if one.interval is not None:
        ends = (f"{up.at(one.y + sign * one.interval):.1f}" for sign in (-1, 1))
        bar = Markup('<line class="series-{}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(series, x, x, *ends)
    dot = Markup('<circle class="series-{}" cx="{}" cy="{}" r="5"><title>{}</title></circle>')
    return bar + dot.format(series, x, y, one.name)


def _chart(title: str, across: Axis, up: Axis, drawn: Markup) -> Markup:
    frame = Markup('<path class="axis" d="M{0} {1}V{2}H{3}"/>').format(LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT)
    below = Markup("").join(
        Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(f"{at:.1f}", HEIGHT - BOTTOM + 16, text)
        for at, text in across.ticks()
    )
    beside = Markup("").join(
        Markup('<path class="grid" d="M{} {}H{}"/><text x="{}" y="{}" text-anchor="end">{}</text>').format(
            LEFT, f"{at:.1f}", WIDTH - RIGHT, LEFT - 6, f"{at + 4:.1f}", text
        )
        for at, text in up.ticks()
    )
    name = Markup('<text class="name" x="{}" y="{}" text-anchor="end">{}</text>').format(
        WIDTH - RIGHT, HEIGHT - 6, across.name
    )
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, f"{title}: {up.name} against {across.name}", beside + frame + below + name + drawn
    )


def _axis(name: str, values: Sequence[float], is_log: bool, start: int, end: int) -> Axis:
    least, most = min(values), max(values)
    if is_log:
        return Axis(name, least / 1.15, most * 1.15, True, start, end)
    margin = 0.06 * (most - least) or abs(most) * 0.1 or 1.0
    return Axis(name, 0.0 if 0 <= least < 2 * margin else least - margin, most + margin, False, start, end)


def _round(least: float, most: float) -> Iterator[float]:
    """A handful of multiples of 1, 2 or 5 times a power of ten."""
    raw = (most - least) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    first = math.ceil(least / step)
    yield from (number * step for number in range(first, math.floor(most / step) + 1))


def _decades(least: float, most: float) -> list[float]:
    """Powers of ten; where there are fewer than two, also their multiples by 2 and 5."""
    powers = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
    for factors in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        shown_ = [value for value in found if least <= value <= most]
        if len(shown_) > 1:
            return shown_[:: -(-len(shown_) // 6)]
    return [least, most]
