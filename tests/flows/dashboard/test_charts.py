"""Charts: within their frame, readable by machines, and nothing where there is nothing to show."""

from __future__ import annotations

import math
import re

import pytest

from flows.dashboard.charts import HEIGHT, WIDTH, Point, bars, lines, points, thinned
from tests.flows.dashboard.html import Page


def numbers(svg: str, *names: str) -> list[float]:
    page = Page(svg)
    return [float(value) for name in names for value in page.values(name)]


def test_points_lie_within_the_frame_with_their_names() -> None:
    found = [Point(10.0**n, 10.0 ** (3 - n), f"model {n} <b>", n, interval=0.5) for n in range(4)]
    svg = points("quality", found, "seconds", "distance", log_x=True, log_y=True)
    assert all(0 <= x <= WIDTH for x in numbers(svg, "cx")) and all(0 <= y <= HEIGHT for y in numbers(svg, "cy", "y1"))
    assert numbers(svg, "cx") == sorted(numbers(svg, "cx")) and numbers(svg, "cy") == sorted(numbers(svg, "cy"))
    assert "model 3 <b>" in Page(svg).text and "<b>" not in svg, "its name is text"
    assert Page(svg).values("aria-label") == ["quality: distance against seconds"]


@pytest.mark.parametrize("found", [[], [Point(1, 1, "alone")], [Point(0, 1, "a"), Point(-1, 2, "b")]])
def test_what_a_logarithmic_axis_cannot_show_is_not_drawn(found: list[Point]) -> None:
    assert points("quality", found, "x", "y", log_x=True) == ""


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_equal_and_extreme_values_have_a_place(scale: float) -> None:
    for values in ([scale, scale], [scale, 1.001 * scale], [-scale, scale], [0.0, 0.0]):
        svg = points("q", [Point(n, value, "p", interval=scale) for n, value in enumerate(values)], "x", "y")
        assert all(math.isfinite(y) for y in numbers(svg, "cy", "y1", "y2"))


def test_lines_have_their_values_in_order() -> None:
    svg = lines("loss", [("a", [(1, 1.0), (2, 0.1), (3, 0.01)]), ("b", [(1, 0.5), (2, 0.0)])], "step", "loss")
    first = re.findall(r'points="([^"]+)"', svg)[0]
    down = [float(point.partition(",")[2]) for point in first.split()]
    assert down == sorted(down) and lines("loss", [("a", [(1, 0.0), (2, -1.0)])], "step", "loss") == ""


def test_bars_are_as_high_as_what_they_count() -> None:
    svg = bars("norms", [1, 4, 2], 0.0, 3.0, "norm")
    low, high, middle = numbers(svg, "height")
    assert high > middle > low and high / low == pytest.approx(4, rel=0.1) and bars("norms", [0, 0], 0, 1, "x") == ""


def test_a_long_line_is_thinned_to_means() -> None:
    line = [(float(n), 2.0 * n) for n in range(1001)]
    short = thinned(line)
    assert len(short) <= 160 and short[0] == (3.0, 6.0) and thinned(line[:5]) == line[:5]
