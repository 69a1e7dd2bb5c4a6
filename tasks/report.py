"""Stage `report`: one self-contained page that shows what came out, and where every number comes from."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pyarrow.parquet as pq
from markupsafe import Markup
from pydantic import JsonValue
from safetensors.numpy import load_file

from infra.artifact import Artifact, Draft, Source
from infra.recipe import Performance, Report
from tasks import figures
from tasks.contact_sheet import ContactSheet, draw, read_contact_sheet, to_data_uri
from tasks.measured import Claim, Measured, Metrics, claims, fullest, read_metrics, shown
from tasks.progress import Progress
from tasks.stage import StageResult

FILES = ("report.html", "contact_sheet.png", "metrics.json")
COLUMNS = (  # field, heading, unit
    ("steps", "steps", ""), ("guidance", "guidance", ""), ("solver", "solver", ""),
    ("num_images", "pictures", ""), ("frechet_distance", "Fréchet distance, teacher’s", ""),
    ("frechet_distance_coco", "Fréchet distance, real", ""), ("clip_score", "CLIP score", ""),
    ("attribute_accuracy", "attributes", "%"), ("straightness", "straightness S", ""),
    ("distance_to_own_teacher", "distance to own teacher", ""), ("seconds_per_image", "time, batch 1", "s"),
    ("images_per_second", "pictures per second", ""),
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """A figure of the page."""

    svg: Markup
    caption: str


@dataclass(frozen=True)
class Link:
    """A link of the chain: what it is, and how much of it."""

    name: str
    detail: str
    model: str = ""


def make_report(
    config: Report, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit `report.html`, `contact_sheet.png` and the evaluation's `metrics.json`.

    All are volatile: they show timings. Raises UserError when the metrics do not fit their schema.
    """
    evaluation = inputs["evaluate"]
    assert isinstance(evaluation, Artifact), "the evaluation comes from the evaluate stage"
    metrics_file = evaluation.fetch("metrics.json")
    metrics = read_metrics(metrics_file)
    if "report" not in out.units():
        started, (page, picture, copy) = time.monotonic(), (out.workdir / name for name in FILES)
        sheet = read_contact_sheet(
            evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json"), config.columns
        )
        progress(0, 2, "files")
        draw(sheet).save(picture, optimize=True)
        progress(1, 2, "files")
        page.write_text(_page(config, inputs, evaluation, metrics, sheet), encoding="utf-8")
        progress(2, 2, "files")
        shutil.copyfile(metrics_file, copy)
        blobs = dict(zip(FILES, (page, picture, copy), strict=True))
        out.commit_unit("report", blobs, seconds=time.monotonic() - started, volatile=FILES)
    return StageResult(metrics=_verdicts(claims(metrics.records)))


def _verdicts(found: Sequence[Claim]) -> dict[str, JsonValue]:
    measured = [claim.holds for claim in found if claim.holds is not None]
    return {"claims_measured": len(measured), "claims_met": sum(measured)}


def _page(
    config: Report, inputs: Mapping[str, Source], evaluation: Artifact, metrics: Metrics, sheet: ContactSheet
) -> str:
    curves = list(_curves(inputs))
    return _template().render(
        chain=list(_chain(inputs, metrics.records)),
        claims=claims(metrics.records),
        sheet=sheet,
        models=[model for model in figures.COLOURS if fullest(metrics.records, model)],
        labels=figures.LABELS,
        quality=_quality(metrics.records),
        training=list(_training(curves)),
        trained=[model for model in figures.COLOURS if model in {curve.model for curve in curves}],
        straightness=_straightness(metrics.records),
        trajectories=_trajectories(evaluation, config.trajectories),
        columns=COLUMNS,
        records=metrics.records,
        protocol=_flat(metrics.protocol),
        provenance=_provenance(inputs),
        finished_at=evaluation.manifest.finished_at,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "shown": shown,
        "data_uri": to_data_uri,
        "pretty": _pretty,
        "bytes": _bytes,
        "span": _span,
    }
    return environment.get_template("report.html.j2")


def _pretty(value: JsonValue) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _bytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.1f} kB"


def _span(seconds: float) -> str:
    """Seconds as people say them: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    minutes = int(seconds // 60)
    if minutes < 1:
        return f"{seconds:.1f} s"
    return f"{minutes} min {int(seconds % 60)} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _chain(inputs: Mapping[str, Source], records: Sequence[Measured]) -> Iterator[Link]:
    """The chain as it was run, link by link."""
    if teacher := fullest(records, "teacher"):
        yield Link("Teacher", f"{teacher.steps} steps, guidance {shown(teacher.guidance)}", "teacher")
    for stage_id, source in inputs.items():
        if not isinstance(source, Artifact):
            continue
        made = source.manifest
        if made.stage == "pairs":
            yield Link(f"{made.rows:,} pairs", "noise and latent")
        elif made.stage == "reflow":
            number = int(stage_id.rpartition("-")[2]) + 1
            yield Link(f"{number}-RF", f"reflow, {_steps(made.config)} steps", "2-rf")
        elif made.stage == "distill":
            yield Link("Student", f"distilled, {_steps(made.config)} steps", "student")
    yield Link("Picture", "in one step")


def _steps(config: Mapping[str, JsonValue]) -> str:
    """`2,000` for a reflow, `3,000 l2 + 500 perceptual` for a distillation."""
    phases = config.get("phases")
    if not isinstance(phases, list):
        return f"{config['steps']:,}"
    return " + ".join(f"{phase['steps']:,} {phase['loss']}" for phase in phases if isinstance(phase, dict))


def _quality(records: Sequence[Measured]) -> list[Panel]:
    """Every number against the steps it takes, and the distance against the time."""
    frechet, real, own = "frechet_distance", "frechet_distance_coco", "distance_to_own_teacher"
    lower, higher = "lower is better", "higher is better"
    time_ = figures.quality(
        records, frechet, "Fréchet distance and time", log=True, against="seconds_per_image", floor=True
    )
    drawn = (
        (figures.quality(records, frechet, "Fréchet distance to the teacher", log=True, floor=True), lower),
        (figures.quality(records, "clip_score", "CLIP score"), higher),
        (figures.quality(records, "attribute_accuracy", "Attribute accuracy"), higher),
        (figures.quality(records, real, "Fréchet distance to real pictures", log=True), lower),
        (time_, "lower and further left is better"),
        (
            figures.quality(records, own, "Distance to its own teacher", log=True),
            f"{lower}; the student’s is the 2-RF",
        ),
    )
    return [Panel(Markup(svg), caption) for svg, caption in drawn if svg]


def _curves(inputs: Mapping[str, Source]) -> Iterator[figures.Curve]:
    models = {"reflow": "2-rf", "distill": "student", "direct": "direct", "teacher": "teacher"}
    for stage_id, source in inputs.items():
        if not isinstance(source, Artifact) or not source.files("curve.parquet"):
            continue
        table = pq.read_table(source.fetch("curve.parquet"))
        columns = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names}
        columns.setdefault("phase", np.zeros(len(table)))
        phases = source.manifest.config.get("phases")
        losses = [str(phase["loss"]) for phase in phases if isinstance(phase, dict)] if isinstance(phases, list) else []
        yield figures.Curve(stage_id, models[source.stage], columns, losses)


def _training(curves: Sequence[figures.Curve]) -> Iterator[Panel]:
    """The loss of each kind of training that was done, and the gradient norm of all."""
    kinds = {"Teacher": ("teacher",), "Reflow": ("2-rf",), "Distillation": ("student", "direct")}
    for name, models in kinds.items():
        if found := [curve for curve in curves if curve.model in models]:
            yield Panel(Markup(figures.training(found, "loss", f"{name}: loss")), "")
    if curves:
        yield Panel(Markup(figures.training(curves, "gradient_norm", "Gradient norm, before clipping")), "")


def _straightness(records: Sequence[Measured]) -> dict[str, float]:
    """S by model, of those it was measured for."""
    measured = [record for record in records if record.number("straightness") is not None]
    found = {model: fullest(measured, model) for model in figures.COLOURS}
    return {model: record.straightness or 0.0 for model, record in found.items() if record}


def _trajectories(evaluation: Artifact, count: int) -> list[Panel]:
    paths = load_file(evaluation.fetch("paths.safetensors"))
    flat = {
        model: paths[model][:count].reshape(min(count, len(paths[model])), paths[model].shape[1], -1).astype(np.float64)
        for model in figures.COLOURS
        if model in paths and count
    }
    return [Panel(Markup(svg), "") for svg in figures.trajectories(flat)] if flat else []


def _flat(value: Mapping[str, JsonValue], prefix: str = "") -> dict[str, str]:
    """Nested records as dotted names and text."""
    found: dict[str, str] = {}
    for name, item in value.items():
        if isinstance(item, dict):
            found |= _flat(item, f"{prefix}{name}.")
        else:
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
