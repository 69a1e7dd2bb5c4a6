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

from tasks.evaluate.measured import Measured, fullest, shown
from tasks.evaluate.metrics import Metric
from tasks.roles import FLOOR, Role

Points = NDArray[np.float64]
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle": "^"}
INK, MUTED, LINE, PAPER = "#1c2127", "#5c6670", "#d9dee4", "#fdfefe"
# The page replaces each colour by a variable with a dark twin, and a role's colour by `variable` of it.
_VARIABLES = {INK: "var(--ink)", MUTED: "var(--muted)", LINE: "var(--line)", PAPER: "var(--paper)"}
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
PHASE_ROW = 10  # points between the names of one curve's phases and another's


def variable(role: Role) -> str:
    """The page's variable with a role's colour."""
    return f"--role-{role.name}"


@dataclass(frozen=True)
class Curve:
    """A training curve, with the loss of each phase by name."""

    stage_id: str
    role: Role
    columns: Mapping[str, Points]
    losses: Sequence[str]


class Figures:
    """Draws what concerns these roles, each in its colour, in their order."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self.roles = roles
        self._variables = _VARIABLES | {role.colour: f"var({variable(role)})" for role in roles}

    @contextmanager
    def _panel(self, title: str, sink: list[str], height: float = 2.9) -> Iterator[Axes]:
        """Axes to draw on; on leaving, their SVG is put into `sink`."""
        with matplotlib.rc_context(_STYLE):
            figure = Figure(figsize=(4.2, height), layout="constrained")
            axes = figure.add_subplot()
            axes.set_title(title, pad=8)
            yield axes
            sink.append(_svg(figure, title, self._variables))

    def of_metric(self, records: Sequence[Measured], metric: Metric, against: str = "steps") -> str | None:
        """A metric against the steps (or the seconds) it takes: curves where a model has several, else points.

        None when no record holds the number. Raises ValueError when those that do have no place on the axes.
        """
        series = {role.name: _series(records, role.name, against, metric) for role in self.roles}
        if not any(len(points) for points in series.values()):
            names = [role.name for role in self.roles]
            measured = [record for record in records if record.model in names and record.number(against)]
            if any(record.number(metric.key) is not None for record in measured):
                raise ValueError("no value is positive, as its logarithmic axis needs")
            return None
        sink: list[str] = []
        title = metric.title if against == "steps" else f"{metric.title.partition(' to ')[0]} and time"
        with self._panel(title, sink) as axes:
            for order, role in enumerate(self.roles):
                if len(series[role.name]):
                    _draw_series(axes, role, series[role.name], order)
            _log_steps(axes, series) if against == "steps" else _log_seconds(axes)
            reference = fullest(records, FLOOR) if metric.has_floor else None
            if reference and (value := reference.number(metric.key)):
                _floor(axes, value)
            _y_axis(axes, metric.is_log)
            if metric.unit == "%":
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        return sink[0]

    def sweep(self, records: Sequence[Measured], across: Metric, up: Metric) -> str | None:
        """A metric against another, a line for each model and number of steps through its guidance scales.

        None where no model was measured at several. Raises ValueError when the logarithmic axis can show none.
        """
        lines = {key: points for key, points in _sweeps(records, across, up).items() if len(points) > 1}
        if not lines:
            return None
        sink: list[str] = []
        with self._panel(f"{up.title.partition(' to ')[0]} and {across.title}", sink, height=3.6) as axes:
            for role in self.roles:
                counts = sorted(steps for name, steps in lines if name == role.name)
                for order, steps in enumerate(counts):
                    _draw_sweep(axes, role, steps, lines[role.name, steps], strength=(order + 1) / len(counts))
            axes.set_xlabel(across.title)
            axes.set_ylabel(up.title)
            axes.margins(0.12)
            _y_axis(axes, up.is_log)
        return sink[0]

    def training(self, curves: Sequence[Curve], column: str, title: str) -> str:
        """A column of training curves over the steps on a log axis: bin means, with the bins' range as a band.

        Raises ValueError when there is nothing that a log axis can show.
        """
        if not any(_shown_by_log(curve.columns[column]).any() for curve in curves):
            raise ValueError("no value is finite and positive, as its logarithmic axis needs")
        sink: list[str] = []
        with self._panel(title, sink) as axes:
            for number, curve in enumerate(curves):
                dash = "-" if curve.role not in [c.role for c in curves[:number]] else (0, (3, 1.5))
                for phase in np.unique(curve.columns["phase"]):
                    at = curve.columns["phase"] == phase
                    x, low, mean, high = _binned(curve.columns["step"][at], curve.columns[column][at])
                    lone = "o" if len(x) == 1 else ""  # no line goes through a single point
                    axes.plot(
                        x, mean, color=curve.role.colour, linestyle=dash, linewidth=1.6, marker=lone, markersize=4
                    )
                    axes.fill_between(x, low, high, color=curve.role.colour, alpha=0.18, linewidth=0)
            for row, curve in enumerate(curve for curve in curves if len(curve.losses) > 1):
                _phase_names(axes, curve, row)
            axes.set_xlabel("training step")
            axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            _y_axis(axes, is_log=True)
        return sink[0]

    def trajectories(self, paths: Mapping[str, Points]) -> list[str]:
        """One panel per latent of the paths [k, n, D] by role; all panels share their axes.

        Raises ValueError as :func:`project` does.
        """
        drawn = [role for role in self.roles if role.name in paths]
        flat = [[project(path) for path in paths[role.name]] for role in drawn]
        across = np.concatenate([path[:, 1] for found in flat for path in found] or [np.zeros(1)])
        low, high = float(across.min()), max(float(across.max()), 1e-3)
        sink: list[str] = []
        for number, routes in enumerate(zip(*flat, strict=True)):
            with self._panel(f"Path of latent {number + 1}", sink) as axes:
                for role, route in zip(drawn, routes, strict=True):
                    axes.plot(
                        *route.T, color=role.colour, marker=MARKERS[role.marker], markersize=3.8, linewidth=1,
                        markeredgecolor=PAPER, markeredgewidth=0.4,
                    )  # fmt: skip
                axes.set_ylim(low - 0.1 * high, 1.1 * high)
                axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["noise", "¼", "½", "¾", "latent"])
                axes.yaxis.set_major_locator(MaxNLocator(4))
                axes.set_ylabel("off the chord, in chords")
        return sink


def _svg(figure: Figure, label: str, variables: Mapping[str, str]) -> str:
    """An SVG element without declaration, metadata or style of its own, coloured by the page's variables."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert view_box, "matplotlib writes a viewBox"
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"(font: [^;'\"]*?px) [^;\"]*", r"\1 var(--font)", body)
    for colour, name in variables.items():
        body = body.replace(colour, name)
    return f'<svg {view_box[0]} role="img" aria-label="{label}">{body.strip()}'


def _series(records: Sequence[Measured], model: str, x: str, metric: Metric) -> Points:
    """x, value, and half the width of its interval (0 where there is none): [n, 3], in the order of x."""
    found = [(r.number(x), r.number(metric.key), r.number(metric.interval_key)) for r in records if r.model == model]
    there = [(a, b, c or 0.0) for a, b, c in found if a is not None and b is not None and a > 0]
    points = sorted(point for point in there if point[1] > 0 or not metric.is_log)
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _draw_series(axes: Axes, role: Role, points: Points, order: int) -> None:
    # in one step all models share an x: the last is drawn hollow, so that none hides another
    colour, hollow = role.colour, role.marker == "triangle"
    x, value, interval = points.T
    axes.errorbar(x, value, yerr=np.minimum(interval, 0.99 * np.abs(value)), fmt="none", ecolor=colour, elinewidth=1.2,
                  zorder=2 + order, clip_on=False)  # fmt: skip
    axes.plot(
        x, value, color=colour, marker=MARKERS[role.marker], markersize=5.5 if len(points) > 1 else 9,
        markerfacecolor="none" if hollow else colour, markeredgecolor=colour if hollow else PAPER,
        markeredgewidth=1.8 if hollow else 1, zorder=3 + order, clip_on=False,
    )  # fmt: skip


def _sweeps(records: Sequence[Measured], across: Metric, up: Metric) -> dict[tuple[str, int], Points]:
    """Guidance and both numbers, [n, 3] in the order of the guidance, by model and number of steps."""
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    for record in records:
        guidance, x, y = record.guidance, record.number(across.key), record.number(up.key)
        if record.model == FLOOR or record.steps is None or guidance is None or x is None or y is None:
            continue
        found.setdefault((record.model, record.steps), []).append((guidance, x, y))
    several = {key: sorted(points) for key, points in found.items() if len(points) > 1}
    kept = {key: [point for point in points if point[2] > 0 or not up.is_log] for key, points in several.items()}
    if several and not any(kept.values()):
        raise ValueError("no value is positive, as its logarithmic axis needs")
    return {key: np.array(points, dtype=np.float64).reshape(-1, 3) for key, points in kept.items()}


def _draw_sweep(axes: Axes, role: Role, steps: int, points: Points, strength: float) -> None:
    """A line, stronger the more steps it stands for: its points are named by their guidance, its last by the steps."""
    guidance, x, y = points.T
    axes.plot(
        x, y, color=role.colour, alpha=0.35 + 0.65 * strength, marker=MARKERS[role.marker], markersize=5,
        markeredgecolor=PAPER, markeredgewidth=0.8,
    )  # fmt: skip
    for scale, *at in points:
        last = f" in {steps} step{'' if steps == 1 else 's'}" if scale == guidance[-1] else ""
        axes.annotate(
            f"{scale:g}{last}", at, xytext=(4, 5), textcoords="offset points", fontsize=8,
            color=INK if last else MUTED,
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


def _y_axis(axes: Axes, is_log: bool) -> None:
    if not is_log:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        return
    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 300 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_locator(NullLocator())


def _binned(x: Points, y: Points) -> tuple[Points, Points, Points, Points]:
    """Centre, least, mean and greatest value of up to BINS runs of the points that a log axis can show."""
    kept = _shown_by_log(y)
    groups = [g for g in np.array_split(np.stack([x[kept], y[kept]], 1), BINS) if len(g)]
    columns = [(g[:, 0].mean(), g[:, 1].min(), g[:, 1].mean(), g[:, 1].max()) for g in groups]
    centre, low, mean, high = np.array(columns, dtype=np.float64).reshape(-1, 4).T
    return centre, low, mean, high


def _shown_by_log(values: Points) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values > 0)


def _phase_names(axes: Axes, curve: Curve, row: int) -> None:
    """Name the phases of a curve in its colour, in a row of their own at the top, with a line where one ends."""
    end: float | None = None
    for number, name in enumerate(curve.losses):
        steps = curve.columns["step"][curve.columns["phase"] == number]
        if not len(steps):
            continue
        if end is not None:
            axes.axvline(end, color=curve.role.colour, linewidth=0.8, linestyle=(0, (2, 3)))
        axes.annotate(
            name, (steps[0] if end is None else end, 1), xycoords=("data", "axes fraction"),
            xytext=(4, -2 - PHASE_ROW * row), textcoords="offset points", va="top", fontsize=8, color=curve.role.colour,
        )  # fmt: skip
        end = steps[-1]


def project(path: Points) -> Points:
    """A path [n, D] on the plane of its chord and its main deviation from it, in chord lengths: [n, 2].

    The first point is (0, 0), the last (1, 0); constant speed gives equal steps along the first axis. Raises ValueError
    for a path that is not finite, and for one that ends where it began.
    """
    if not np.isfinite(path).all():
        raise ValueError("a path holds numbers that are not finite")
    moved = path - path[0]
    chord = moved[-1]
    length = float(np.linalg.norm(chord))
    if length == 0:
        raise ValueError("a path ends where it began")
    along = moved @ chord / length**2
    deviation = moved - np.outer(along, chord)
    main = np.linalg.svd(deviation, full_matrices=False)[2][0]
    across = deviation @ main / length
    side = np.sign(across[np.abs(across).argmax()]) or 1.0  # the main bulge upwards
    return np.stack([along, side * across], axis=1)
