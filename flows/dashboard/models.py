"""The pages of the models: every one that was measured, best first, a page for each protocol of measuring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from flows.dashboard import charts
from flows.dashboard.curves import training_curves
from flows.dashboard.pictures import draw_strip, prompts, strip_path
from flows.dashboard.render import render
from flows.observed.evaluations import Evaluation
from flows.observed.known import Known
from infra.artifact.fingerprint import canonical_json, sha256_bytes
from tasks.evaluate.change import APART, Change, change, protocol_differs
from tasks.evaluate.measured import Measured, measured_anywhere, of_own_guidance
from tasks.evaluate.metrics import BY_KEY, METRICS, Metric
from tasks.roles import Role

LINES, STRIPS, GROUPS = 100, 12, 12
_RANKS = ("frechet_distance_coco", "frechet_distance")
"""What models are ranked by: the first of these that was measured."""


@dataclass(frozen=True)
class Line:
    """A model at one number of steps, as its newest evaluation measured it."""

    evaluation: Evaluation
    record: Measured
    role: Role | None
    model: str
    label: str
    work_s: float
    """Work of the model and of all it was made from, s."""

    @property
    def is_student(self) -> bool:
        """Whether it draws in one step."""
        return self.role is not None and self.role.sampling == "one_step"


@dataclass(frozen=True)
class Group:
    """The models that were measured by one protocol: the numbers of one group can be compared."""

    path: str
    name: str
    lines: Sequence[Line]
    left_out: int
    rank: Metric
    teachers: int

    @property
    def metrics(self) -> Sequence[Metric]:
        """The numbers that some line has."""
        return measured_anywhere([line.record for line in self.lines])

    @property
    def roles(self) -> Sequence[str]:
        """Labels of the roles, in the order of their colours."""
        return [*dict.fromkeys(line.role.label if line.role else line.record.model for line in self.lines)]

    @property
    def best(self) -> Line | None:
        """The best student."""
        return next((line for line in self.lines if line.is_student and line.record.number(self.rank.key)), None)

    def standing(self, line: Line) -> str:
        """Of a student: whether it is the best, or not worse beyond the interval of the difference."""
        if self.best is None or not line.is_student or line.record.number(self.rank.key) is None:
            return ""
        if line is self.best:
            return "best student"
        says: Change = change(self.rank, self.best.record, line.record)
        return {"": "as good", "worse": "worse", "better": "as good", "no interval": ""}[says]


def model_pages(known: Known) -> Iterator[tuple[str, bytes | None]]:
    """Path and content of every page about models and of their pictures; None for a picture that is there."""
    groups = _groups(known)
    curves = [*training_curves(known)]
    if not groups:
        yield "models.html", _page(known, None, groups, curves=curves)
    for group in groups:
        strips = [*_strips(known, group)]
        yield from ((path, data) for path, _, data in strips)
        shown = [(path, line) for path, line, _ in strips]
        columns = prompts(strips[0][1].evaluation) if strips else []
        yield group.path, _page(known, group, groups, shown, columns, curves)


def _page(
    known: Known,
    group: Group | None,
    groups: Sequence[Group],
    strips: Sequence[tuple[str, Line]] = (),
    columns: Sequence[str] = (),
    curves: Sequence[object] = (),
) -> bytes:
    told = {"known": known, "group": group, "groups": groups, "strips": strips, "prompts": columns, "curves": curves}
    figures = [*_figures(group)] if group else []
    return render("models.html.j2", group.path if group else "models.html", room="Models", figures=figures, **told)


def _groups(known: Known) -> list[Group]:
    """The protocols, that of the newest evaluation first."""
    newest = sorted(known.evaluations.values(), key=lambda one: one.artifact.manifest.finished_at, reverse=True)
    found: dict[str, list[Evaluation]] = {}
    for evaluation in newest:
        found.setdefault(_protocol(evaluation), []).append(evaluation)
    return [
        _group(known, "models.html" if number == 0 else f"models-of-{key[:12]}.html", some, newest[0])
        for number, (key, some) in enumerate([*found.items()][:GROUPS])
    ]


def _protocol(evaluation: Evaluation) -> str:
    told = {name: value for name, value in evaluation.metrics.protocol.items() if name not in APART}
    return sha256_bytes(canonical_json(told))


def _group(known: Known, path: str, evaluations: Sequence[Evaluation], first: Evaluation) -> Group:
    lines: dict[tuple[str, int | None], Line] = {}
    for evaluation in evaluations:
        for record in of_own_guidance(evaluation.of_models):
            model = evaluation.models.get(record.model, record.model)
            if (model, record.steps) not in lines:
                lines[model, record.steps] = _line(known, evaluation, record, model)
    records = [line.record for line in lines.values()]
    rank = next((BY_KEY[key] for key in _RANKS if any(one.number(key) is not None for one in records)), METRICS[0])
    ranked = sorted(lines.values(), key=lambda line: _least(line.record.number(rank.key)))
    protocol = evaluations[0].metrics.protocol
    name = f"{protocol.get('num_images', '?')} captions, features {protocol.get('features', '?')}"
    if other := [*protocol_differs(first.metrics, evaluations[0].metrics)]:
        name = f"{name}; other {', '.join(other)}"
    teachers = {str(dict(_mapping(one.metrics.protocol.get("measured"))).get("teacher")) for one in evaluations}
    return Group(path, name, ranked[:LINES], max(0, len(ranked) - LINES), rank, len(teachers))


def _line(known: Known, evaluation: Evaluation, record: Measured, model: str) -> Line:
    label = evaluation.label(record)
    return Line(evaluation, record, evaluation.roles.get(record.model), model, label, known.lineage.work_s(model))


def _least(value: float | None) -> float:
    return float("inf") if value is None else value


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _strips(known: Known, group: Group) -> Iterator[tuple[str, Line, bytes | None]]:
    """The pictures of the first teacher and of the best other models, drawn where they are not there yet."""
    teachers = [line for line in group.lines if line.role and line.role.sampling == "teacher"]
    first = sorted(teachers, key=lambda line: -(line.record.steps or 0))[:1]
    count = 0
    for line in [*first, *(line for line in group.lines if line not in teachers)]:
        cell, files = line.evaluation.cell(line.record), line.evaluation.artifact.files("contact.safetensors")
        if cell is None or not files or count == STRIPS:
            continue
        path = strip_path(line.evaluation, cell, files[0])
        data = None if path in known.kept else draw_strip(line.evaluation, cell, files[0])
        if data is not None or path in known.kept:
            count += 1
            yield path, line, data


def _figures(group: Group) -> Iterator[tuple[str, Markup]]:
    """Quality against what it costs: to draw a picture, and to have come to be."""
    for metric, is_log in ((group.rank, True), (BY_KEY["clip_score"], False)):
        by_latency = [point for line in group.lines if (point := _point(group, line, metric, _latency(line)))]
        by_work = [point for line in group.lines if (point := _point(group, line, metric, line.work_s or None))]
        for points, across in ((by_latency, "s per picture"), (by_work, "s of work to make it")):
            if svg := charts.points(metric.title, points, across, metric.title, log_x=True, log_y=is_log):
                yield f"{metric.title}, {metric.better} is better", svg


def _latency(line: Line) -> float | None:
    return line.record.number("seconds_per_image")


def _point(group: Group, line: Line, metric: Metric, x: float | None) -> charts.Point | None:
    y = line.record.number(metric.key)
    if x is None or y is None:
        return None
    role = line.role.label if line.role else line.record.model
    name = f"{line.label}, {line.model[-40:]}: {y:.3g}"
    return charts.Point(x, y, name, group.roles.index(role), line.record.number(metric.interval_key))
