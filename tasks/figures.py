"""The report's figures as SVG that takes its colours from the page, light or dark.

One panel is one SVG, so that the page can put them side by side or, on a telephone, below each other.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from tasks.measured import Measured, fullest, shown

Points = NDArray[np.float64]
LABELS = {"teacher": "Teacher", "2-rf": "2-RF", "student": "Student", "direct": "Direct", "floor": "Floor"}
MARKERS = {"teacher": "o", "2-rf": "s", "student": "D", "direct": "^"}
# After Okabe and Ito, told apart by the colour-blind. The page replaces each by a variable with a dark twin.
COLOURS = {"teacher": "#0072b2", "2-rf": "#d55e00", "student": "#008a64", "direct": "#b5539a"}
INK, MUTED, LINE, PAPER = "#1c2127", "#5c6670", "#d9dee4", "#fdfefe"
_VARIABLES = {
    **{colour: f"var(--{'rectified' if model == '2-rf' else model})" for model, colour in COLOURS.items()},
    INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)",
}  # fmt: skip
_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text: selectable, and in the page's font
    "svg.hashsalt": "instaflow",  # the same data, the same bytes
    "font.size": 9, "axes.titlesize": 10, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True,
    "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "axes.titlecolor": INK, "grid.color": LINE,
    "grid.linewidth": 0.6, "text.color": INK, "xtick.color": LINE, "ytick.color": LINE,
    "xtick.labelcolor": MUTED, "ytick.labelcolor": MUTED, "lines.linewidth": 1.8, "lines.markersize": 5.5,
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip
BINS = 160


@dataclass(frozen=True)
class Curve:
    """A training curve, with the loss of each phase by name."""

    stage_id: str
    model: str
    columns: Mapping[str, Points]
    losses: Sequence[str]


@contextmanager
def _panel(title: str, sink: list[str], height: float = 2.9) -> Iterator[Axes]:
    """Axes to draw on; on leaving, their SVG is put into `sink`."""
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(4.2, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_title(title, pad=8)
        yield axes
        sink.append(_svg(figure, title))


def _svg(figure: Figure, label: str) -> str:
    """An SVG element without declaration, metadata or style of its own, coloured by the page's variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box, "matplotlib writes a viewBox"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"(font: [^;'\"]*?px) [^;\"]*", r"\1 var(--font)", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return f'<svg {view_box[0]} role="img" aria-label="{label}">{body.strip()}'


def quality(
    records: Sequence[Measured],
    field: str,
    title: str,
    *,
    log: bool = False,
    against: str = "steps",
    floor: bool = False,
) -> str | None:
    """A number against the steps (or the seconds) it takes: curves where a model has several, else points.

    None when no record holds the number.
    """
    series = {model: _series(records, model, against, field, log) for model in COLOURS}
    if not any(len(points) for points in series.values()):
        return None
    sink: list[str] = []
    with _panel(title, sink) as axes:
        for order, (model, points) in enumerate(series.items()):
            if len(points):
                _draw_series(axes, model, points, order)
        _log_steps(axes, series) if against == "steps" else _log_seconds(axes)
        reference = fullest(records, "floor") if floor else None
        if reference and (value := reference.number(field)):
            _floor(axes, value)
        _y_axis(axes, log)
        if field == "attribute_accuracy":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
    return sink[0]


def _series(records: Sequence[Measured], model: str, x: str, y: str, log: bool) -> Points:
    found = [(r.number(x), r.number(y)) for r in records if r.model == model]
    points = sorted((a, b) for a, b in found if a is not None and b is not None and a > 0 and (b > 0 or not log))
    return np.array(points, dtype=np.float64).reshape(-1, 2)


def _draw_series(axes: Axes, model: str, points: Points, order: int) -> None:
    # in one step all models share an x: the last is drawn hollow, so that none hides another
    colour, hollow = COLOURS[model], model == "direct"
    axes.plot(
        *points.T, color=colour, marker=MARKERS[model], markersize=5.5 if len(points) > 1 else 9,
        markerfacecolor="none" if hollow else colour, markeredgecolor=colour if hollow else PAPER,
        markeredgewidth=1.8 if hollow else 1, zorder=3 + order, clip_on=False,
    )  # fmt: skip


def _floor(axes: Axes, value: float) -> None:
    axes.axhline(value, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "floor", (1, value), xycoords=("axes fraction", "data"), xytext=(0, 3), textcoords="offset points",
        ha="right", va="bottom", fontsize=8, color=MUTED,
    )  # fmt: skip


def _log_steps(axes: Axes, series: Mapping[str, Points]) -> None:
    steps = sorted({float(step) for points in series.values() for step in points[:, 0]})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(steps))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("solver steps")


def _log_seconds(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high / low < 300 else (1.0,)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value, "s")))
    axes.set_xlabel("time for a picture, batch 1")


def _y_axis(axes: Axes, log: bool) -> None:
    if not log:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


def training(curves: Sequence[Curve], column: str, title: str) -> str:
    """A column of training curves over the steps on a log axis: bin means, with the bins' range as a band."""
    sink: list[str] = []
    with _panel(title, sink) as axes:
        for number, curve in enumerate(curves):
            dash = "-" if curve.model not in {c.model for c in curves[:number]} else (0, (3, 1.5))
            for phase in np.unique(curve.columns["phase"]):
                at = curve.columns["phase"] == phase
                x, low, mean, high = _binned(curve.columns["step"][at], curve.columns[column][at])
                axes.plot(x, mean, color=COLOURS[curve.model], linestyle=dash, linewidth=1.6)
                axes.fill_between(x, low, high, color=COLOURS[curve.model], alpha=0.18, linewidth=0)
        _phase_names(axes, curves)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        _y_axis(axes, log=True)
    return sink[0]


def _binned(x: Points, y: Points) -> tuple[Points, Points, Points, Points]:
    """Centre, least, mean and greatest value of up to BINS runs of the points that a log axis can show."""
    kept = np.isfinite(y) & (y > 0)
    groups = [g for g in np.array_split(np.stack([x[kept], y[kept]], 1), BINS) if len(g)]
    columns = [(g[:, 0].mean(), g[:, 1].min(), g[:, 1].mean(), g[:, 1].max()) for g in groups]
    centre, low, mean, high = np.array(columns, dtype=np.float64).reshape(-1, 4).T
    return centre, low, mean, high


def _phase_names(axes: Axes, curves: Sequence[Curve]) -> None:
    """Name the phases of the longest curve at the top, with a line where one ends."""
    curve = max(curves, key=lambda c: len(c.losses))
    if len(curve.losses) < 2:
        return
    for number, name in enumerate(curve.losses):
        steps = curve.columns["step"][curve.columns["phase"] == number]
        if not len(steps):
            continue
        if number:
            axes.axvline(steps[0], color=MUTED, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate(
            name, (steps[0], 1), xycoords=("data", "axes fraction"), xytext=(4, -2),
            textcoords="offset points", va="top", fontsize=8, color=MUTED,
        )  # fmt: skip


def project(path: Points) -> Points:
    """A path [n, D] on the plane of its chord and its main deviation from it, in chord lengths: [n, 2].

    The first point is (0, 0), the last (1, 0); constant speed gives equal steps along the first axis.
    """
    moved = path - path[0]
    chord = moved[-1]
    length = float(np.linalg.norm(chord))
    assert length > 0, "a path that ends where it began has no chord"
    along = moved @ chord / length**2
    deviation = moved - np.outer(along, chord)
    main = np.linalg.svd(deviation, full_matrices=False)[2][0]
    across = deviation @ main / length
    side = np.sign(across[np.abs(across).argmax()]) or 1.0  # the main bulge upwards
    return np.stack([along, side * across], axis=1)


def trajectories(paths: Mapping[str, Points]) -> list[str]:
    """One panel per latent of the paths [k, n, D] by model; all panels share their axes."""
    flat = {model: [project(path) for path in found] for model, found in paths.items()}
    across = np.concatenate([path[:, 1] for found in flat.values() for path in found] or [np.zeros(1)])
    low, high = float(across.min()), max(float(across.max()), 1e-3)
    sink: list[str] = []
    for number, routes in enumerate(zip(*flat.values(), strict=True)):
        with _panel(f"Path of latent {number + 1}", sink) as axes:
            for model, route in zip(flat, routes, strict=True):
                axes.plot(
                    *route.T, color=COLOURS[model], marker=MARKERS[model], markersize=3.8, linewidth=1,
                    markeredgecolor=PAPER, markeredgewidth=0.4,
                )  # fmt: skip
            axes.set_ylim(low - 0.1 * high, 1.1 * high)
            axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["noise", "¼", "½", "¾", "latent"])
            axes.yaxis.set_major_locator(MaxNLocator(4))
            axes.set_ylabel("off the chord, in chords")
    return sink
