"""Stage `report`: one self-contained page that shows what came out, and where every number comes from."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jinja2
import numpy as np
import pyarrow.parquet as pq
from markupsafe import Markup
from PIL import Image
from pydantic import JsonValue
from safetensors.numpy import load_file

from infra.artifact import Artifact, Source
from infra.environment import environment
from infra.words import duration, size
from tasks.data.inputs import as_artifact
from tasks.evaluate.cells import cells, present
from tasks.evaluate.measured import (
    Metrics,
    fullest,
    measured_anywhere,
    of_own_guidance,
    read_metrics,
    shown,
    shown_with_interval,
)
from tasks.evaluate.metrics import BY_KEY, METRICS, Metric
from tasks.evaluate.verdicts import Verdict, verdicts
from tasks.report import figures
from tasks.report.contact_sheet import ContactSheet, draw, read_contact_sheet, to_data_uri
from tasks.report.prompt_list import PromptList, read_prompt_list
from tasks.roles import FLOOR, Role
from tasks.sections import EvaluateJob, ReportJob
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import CURVE_FILE, STAGES, Group

FILES = ("report.html", "contact_sheet.png", "metrics.json")
CELL_COLUMNS = (("steps", "steps"), ("guidance", "guidance"), ("solver", "solver"), ("num_images", "pictures"))

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Panel:
    """A figure of the page, or why there is none."""

    svg: Markup
    caption: str
    absent: str = ""


@dataclass(frozen=True)
class Link:
    """A link of the chain: what it is, and how much of it."""

    name: str
    detail: str
    role: Role | None = None


class WriteReport(StageWork[ReportJob]):
    """Commits `report.html`, `contact_sheet.png` and the evaluation's `metrics.json`.

    All are volatile: they show timings. Raises UserError when the metrics do not fit their schema.
    """

    def __init__(self, work: Work[ReportJob]) -> None:
        super().__init__(work)
        self.evaluation = as_artifact(self.inputs["evaluate"])
        told = EvaluateJob.model_validate_json(json.dumps(self.evaluation.manifest.config))
        there = [record.role for record in self.evaluation.manifest.inputs]
        self.roles, self.cells = present(told, there), cells(told, there)
        self.figures = figures.Figures(self.roles)

    @cached_property
    def metrics(self) -> Metrics:
        """The evaluation's numbers."""
        return read_metrics(self.evaluation.fetch("metrics.json"))

    @property
    def verdicts(self) -> list[Verdict]:
        """What the numbers say of the claims."""
        return verdicts(self.config.claims, self.metrics.records, self.metrics.beside)

    def make(self, group: Group) -> None:
        """Draw the contact sheet, then the page."""
        started, (page, picture, copy) = time.monotonic(), (self.out.workdir / name for name in FILES)
        tensors, prompts = (self.evaluation.fetch(name) for name in ("contact.safetensors", "contact.json"))
        sheet = read_contact_sheet(tensors, prompts, self.config.columns, self.cells)
        _sheet(sheet).save(picture, optimize=True)
        self.work.advance(1)
        page.write_text(self._page(sheet), encoding="utf-8")
        shutil.copyfile(self.evaluation.fetch("metrics.json"), copy)
        blobs = dict(zip(FILES, (page, picture, copy), strict=True))
        self.out.commit_unit("report", blobs, seconds=time.monotonic() - started, volatile=FILES)
        self.work.advance(1)

    def finish(self, units: Units) -> StageResult:
        """How many claims are met."""
        measured = [one.outcome for one in self.verdicts if one.outcome not in (None, "not measured")]
        return StageResult(metrics={"claims_measured": len(measured), "claims_met": measured.count("met")})

    def _page(self, sheet: ContactSheet) -> str:
        curves, records = list(self._curves()), self.metrics.records
        return _template().render(
            facts=list(self._facts()),
            chain=list(self._chain()),
            claims=self.verdicts,
            sheet=sheet,
            roles=self.roles,
            by_name={role.name: role for role in self.roles},
            models=[role for role in self.roles if fullest(records, role.name)],
            quality=list(self._quality()),
            sweep=self._sweep(),
            has_floor=bool(fullest(records, FLOOR)),
            about=self.config.page,
            training=list(self._training(curves)),
            trained=[role for role in self.roles if role in [curve.role for curve in curves]],
            straightness=self._straightness(),
            trajectories=self._trajectories(),
            columns=CELL_COLUMNS,
            metrics=measured_anywhere(records),
            records=records,
            prompts=self._prompts(),
            beside=self.metrics.beside,
            protocol=_flat(self.metrics.protocol),
            provenance=_provenance(self.inputs),
            finished_at=self.evaluation.manifest.finished_at,
        )

    def _facts(self) -> Iterator[tuple[str, str]]:
        """Whose page it is, by name."""
        if behalf := self.work.behalf:
            yield "recipe", behalf.recipe
            yield from [("teacher", behalf.teacher)] if behalf.teacher else []
            yield "run", behalf.run
        if commit := environment().get("git_commit"):
            yield "commit", commit[:12]

    def _prompts(self) -> PromptList | None:
        source = self.inputs.get("prompts")
        return read_prompt_list(source) if isinstance(source, Artifact) else None

    def _chain(self) -> Iterator[Link]:
        """The chain as it was run, link by link."""
        first, records = self.roles[0], self.metrics.records
        if (teacher := fullest(records, first.name)) and teacher.steps:
            yield Link(first.label, f"{teacher.steps} steps, guidance {shown(teacher.guidance)}", first)
        elif teacher:
            yield Link(first.label, "drawn elsewhere", first)
        for stage_id, source in self.inputs.items():
            if not isinstance(source, Artifact):
                continue
            made, role = source.manifest, self._trained(source)
            if made.stage == "pairs":
                yield Link(f"{made.rows:,} pairs", "noise and latent")
            elif made.stage == "reflow":
                number = int(stage_id.rpartition("-")[2]) + 1
                yield Link(f"{number}-RF", f"reflow, {_steps(made.config)} steps", role)
            elif made.stage == "distill" and role:
                yield Link(role.label, f"distilled, {_steps(made.config)} steps", role)
        if any(role.sampling == "one_step" for role in self.roles):
            yield Link("Picture", "in one step")
        else:
            yield Link(f"{records[0].num_images:,} pictures", "one for each caption")

    def _trained(self, source: Source) -> Role | None:
        """The role of what a training made."""
        curve = STAGES[source.stage].curve if isinstance(source, Artifact) else None
        return next((role for role in self.roles if curve and role.name == curve.role), None)

    def _quality(self) -> Iterator[Panel]:
        """Every number against the steps it takes, and the distance against the time."""
        records, draw = of_own_guidance(self.metrics.records), self.figures.of_metric
        for metric in METRICS:
            if metric.title:
                yield from _panels(metric.title, lambda of=metric: [draw(records, of)], _caption(metric))  # type: ignore[misc]
        distances = [metric for metric in measured_anywhere(records) if metric.reduced == "frechet"]
        for first in distances[:1]:
            yield from _panels(
                f"{first.title} and time",
                lambda of=first: [draw(records, of, against="seconds_per_image")],  # type: ignore[misc]
                "; ".join(filter(None, ("lower and further left is better", self.metrics.beside))),
            )

    def _sweep(self) -> list[Panel]:
        """The usual curve of guidance: how near to real pictures, and how near to the caption."""
        distance, score = (BY_KEY[key] for key in ("frechet_distance_coco", "clip_score"))
        return _panels(
            "The curve of guidance",
            lambda: [self.figures.sweep(self.metrics.records, score, distance)],
            "lower and further right is better; a point is named by its guidance",
        )

    def _curves(self) -> Iterator[figures.Curve]:
        for stage_id, source in self.inputs.items():
            role = self._trained(source)
            if isinstance(source, Artifact) and role and source.files(CURVE_FILE):
                yield _curve(stage_id, source, role)

    def _training(self, curves: Sequence[figures.Curve]) -> Iterator[Panel]:
        """The loss of each kind of training that was done, and the gradient norm of all."""
        declared = [stage.curve for stage in STAGES.values() if stage.curve]
        for title in dict.fromkeys(curve.title for curve in declared):
            roles = [curve.role for curve in declared if curve.title == title]
            if found := [curve for curve in curves if curve.role.name in roles]:
                yield from self._curve_panels(found, "loss", f"{title}: loss")
        if curves:
            yield from self._curve_panels(curves, "gradient_norm", "Gradient norm, before clipping")

    def _curve_panels(self, curves: Sequence[figures.Curve], column: str, title: str) -> list[Panel]:
        return _panels(title, lambda: [self.figures.training(curves, column, title)])

    def _straightness(self) -> list[tuple[Role, float]]:
        """S of each role that it was measured for."""
        measured = [record for record in self.metrics.records if record.number("straightness") is not None]
        found = [(role, fullest(measured, role.name)) for role in self.roles]
        return [(role, record.number("straightness") or 0.0) for role, record in found if record]

    def _trajectories(self) -> list[Panel]:
        paths, count = load_file(self.evaluation.fetch("paths.safetensors")), self.config.trajectories
        flat = {
            name: path[:count].reshape(min(count, len(path)), path.shape[1], -1).astype(np.float64)
            for name, path in paths.items()
            if count and path.shape[1] > 2  # a single step is straight
        }
        return _panels("Paths of latents", lambda: self.figures.trajectories(flat)) if flat else []


def _sheet(sheet: ContactSheet) -> Image.Image:
    """The contact sheet; where it cannot be drawn, an empty picture: a report never fails a run."""
    try:
        return draw(sheet)
    except Exception as error:  # whatever it is: days of work are not lost for one picture
        _log.warning("report: the contact sheet cannot be drawn: %s", str(error) or type(error).__name__)
        return Image.new("RGB", (1, 1), "white")


def _panels(title: str, draw: Callable[[], Sequence[str | None]], caption: str = "") -> list[Panel]:
    """What was drawn; where that fails, a panel that says so: a report never fails a run."""
    try:
        return [Panel(Markup(svg), caption) for svg in draw() if svg]
    except Exception as error:  # whatever it is: days of work are not lost for one figure
        reason = f"{title} cannot be drawn: {str(error) or type(error).__name__}"
        _log.warning("report: %s", reason)
        return [Panel(Markup(""), "", f"{reason}.")]


def _caption(metric: Metric) -> str:
    return "; ".join(filter(None, (f"{metric.better} is better", metric.note)))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "variable": figures.variable,
        "shown": shown,
        "with_interval": shown_with_interval,
        "data_uri": to_data_uri,
        "pretty": _pretty,
        "bytes": size,
        "span": duration,
    }
    return environment.get_template("report.html.j2")


def _pretty(value: JsonValue) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _steps(config: Mapping[str, JsonValue]) -> str:
    """`2,000` for a teacher, `2,000 huber` for a reflow, `3,000 l2 + 500 perceptual` for a distillation."""
    phases = _phases(config)
    if not phases:
        return f"{config['steps']:,}"
    return " + ".join(f"{steps:,} {loss}" for steps, loss in phases)


def _phases(config: Mapping[str, JsonValue]) -> list[tuple[int, str]]:
    """Steps and loss of each phase of a training; a reflow has one loss for all."""
    phases = config.get("phases")
    told = [phase for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []
    return [(int(str(phase["steps"])), str(phase.get("loss", config.get("loss")))) for phase in told]


def _curve(stage_id: str, source: Artifact, role: Role) -> figures.Curve:
    table = pq.read_table(source.fetch(CURVE_FILE))
    columns = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
    columns.setdefault("phase", np.zeros(len(table)))
    losses = [loss for _, loss in _phases(source.manifest.config)]
    return figures.Curve(stage_id, role, columns, losses)


def _flat(value: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """Nested records as dotted names and text, without what does not apply."""
    found: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            found |= _flat(item, f"{prefix}{name}.")
        elif item is not None:
            text = item if isinstance(item, str) else json.dumps(item, ensure_ascii=False)
            found[prefix + name] = text or "none"
    return found


def _provenance(inputs: Mapping[str, Source]) -> list[dict[str, object]]:
    """What the page was made from, the evaluation last."""
    by_digest = {source.digest: stage_id for stage_id, source in inputs.items()}
    ordered = sorted(inputs.items(), key=lambda item: item[0] == "evaluate")
    return [
        {
            "id": stage_id,
            "source": source,
            "manifest": source.manifest if isinstance(source, Artifact) else None,
            "made_from": [
                (record, by_digest.get(record.digest)) for record in source.manifest.inputs
            ] if isinstance(source, Artifact) else [],
        }
        for stage_id, source in ordered
    ]  # fmt: skip
