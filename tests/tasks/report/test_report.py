"""The page shows every number and picture of the evaluation, is self-contained, and trusts no prompt."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import JsonValue
from safetensors.numpy import load_file, save_file

from flows.algorithms.instaflow import CLAIMS, PAGE
from infra.artifact import MANIFEST, Artifact, Source
from infra.store import Store
from infra.store.local import LocalStore
from tasks.evaluate.cells import cells
from tasks.evaluate.measured import shown
from tasks.progress import Progress, silent
from tasks.report import figures
from tasks.report import report as report_module
from tasks.report.contact_sheet import draw, read_contact_sheet
from tasks.roles import STANDARD, STUDENT
from tasks.sections import EvaluateJob, Report, ReportJob
from tasks.stage import Behalf, Job, do_job, run_stage
from tasks.stages import STAGES
from tests.tasks import small_run
from tests.tasks.conftest import PERF
from tests.tasks.small_run import NASTY

CELLS = cells(EvaluateJob(steps=small_run.STEPS), [role.input for role in STANDARD])
LABELS = {"floor": "Floor", **{role.name: role.label for role in STANDARD}}

VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """What a browser would find: tags balanced, attributes, text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.cells.append([])
        elif tag in ("td", "th") and self.cells:
            self.cells[-1].append("")
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if {"td", "th"} & set(self.open):
            self.cells[-1][-1] += data.strip()

    def values(self, tag: str, name: str) -> list[str]:
        return [value for at, attribute, value in self.attributes if (at, attribute) == (tag, name)]


def report(
    store: Store, inputs: dict[str, Source], config: Report | None = None, progress: Progress = silent
) -> Artifact:
    """What the stage makes beside the claims of the algorithm."""
    job = ReportJob.of(config or Report(), "instaflow", CLAIMS, PAGE)
    return run_stage(STAGES["report"], job, inputs, store, PERF, progress)


@pytest.fixture
def source(store: Store, inputs: dict[str, Source]) -> str:
    return report(store, inputs).fetch("report.html").read_text(encoding="utf-8")


def test_the_stage_commits_page_sheet_and_metrics(
    store: Store, inputs: dict[str, Source], evaluation: Artifact
) -> None:
    told: list[tuple[int, int, str]] = []
    made = report(store, inputs, progress=lambda *at: told.append(at))
    assert told == [(count, 2, "files") for count in range(3)]
    assert {file.name for file in made.manifest.files} == {"report.html", "contact_sheet.png", "metrics.json"}
    assert all(file.volatile for file in made.manifest.files), "the page shows timings"
    assert made.fetch("metrics.json").read_bytes() == evaluation.fetch("metrics.json").read_bytes()
    assert made.manifest.metrics == {"claims_measured": 5, "claims_met": 5}


def test_the_contact_sheet_has_as_many_columns_as_asked_for(
    store: Store, inputs: dict[str, Source], evaluation: Artifact
) -> None:
    tensors, prompts = evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json")
    sheet = read_contact_sheet(tensors, prompts, 3, CELLS)
    made = np.asarray(Image.open(report(store, inputs, Report(columns=3)).fetch("contact_sheet.png")))
    assert np.array_equal(made, np.asarray(draw(sheet)))


def test_a_committed_page_is_not_made_again(store: Store, inputs: dict[str, Source]) -> None:
    made, told = report(store, inputs), list[int]()
    store.delete(f"{made.base}/{MANIFEST}")
    again = report(store, inputs, progress=lambda done, *_: told.append(done))
    assert again.manifest.files == made.manifest.files and not told


def test_every_record_is_in_the_table(source: str) -> None:
    rows = Page(source).cells
    for record in small_run.records():
        numbers = (record["steps"], record["guidance"], record["frechet_distance"], record["clip_score"])
        label = LABELS[str(record["model"])]
        row = next(r for r in rows if r[:2] == [label, str(record["steps"])])
        assert row[2] == shown(float(str(numbers[1])))
        assert row[5].startswith(f"{shown(float(str(numbers[2])))} ± ") and row[7].startswith(
            shown(float(str(numbers[3])))
        )
        assert record["straightness"] is not None or row[9] == "–"


def test_the_pictures_are_the_evaluations_pixel_by_pixel(source: str, evaluation: Artifact) -> None:
    sheet = read_contact_sheet(evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json"), 10, CELLS)
    found = [_decoded(uri) for uri in Page(source).values("img", "src")]
    expected = [picture for row in [*sheet.shown(), *sheet.others()] for picture in row.pictures]
    assert len(found) == 12 * 10 and {picture.shape for picture in found} == {(32, 32, 3)}
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [(row.role.name, row.steps) for row in sheet.shown()] == [
        ("teacher", 25), ("2-rf", 25), ("2-rf", 4), ("2-rf", 2), ("2-rf", 1), ("student", 1), ("direct", 1),
    ]  # fmt: skip


def _decoded(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_the_page_needs_nothing_but_itself(source: str) -> None:
    page = Page(source)
    assert not page.open, "every tag is closed"
    for tag, name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            assert value.startswith(("data:image/png;base64,", "#")), f"<{tag} {name}={value[:60]}>"
        assert not name.startswith("on"), f"<{tag} {name}>"
    assert "script" not in {tag for tag, *_ in page.attributes} and "<script" not in source
    assert not re.search(r"https?://|@import|url\((?!#)", source)


def test_links_lead_somewhere(source: str) -> None:
    page = Page(source)
    anchors = {value for _, name, value in page.attributes if name == "id"}
    inner = [value[1:] for value in page.values("a", "href")]
    assert "artifact-reflow-1" in inner and set(inner) <= anchors


def test_twenty_prompts_are_shown_with_their_rows(source: str) -> None:
    rows = [row for row in Page(source).cells if row[-1].startswith("laion/00017.parquet:")]
    assert len(rows) == 20 and rows[0] == [NASTY, "reflow", "laion/00017.parquet:0"]


def test_a_nasty_prompt_is_text(source: str) -> None:
    assert NASTY not in source and "<b>shadow" not in source
    assert any(NASTY in cell for row in Page(source).cells for cell in row)
    assert f"Student, 1 step: {NASTY}" in Page(source).values("img", "alt")


def test_every_artifact_is_accounted_for(source: str, inputs: dict[str, Source]) -> None:
    text = " ".join(Page(source).text)
    for stage_id, artifact in inputs.items():
        assert f'id="artifact-{stage_id}"' in source and artifact.digest in text
        if isinstance(artifact, Artifact):
            assert artifact.fingerprint in text and artifact.manifest.environment["torch"] in text
    assert "captions · sha256" in text and "5f" * 32 in text


def test_a_run_without_direct_and_without_attributes_has_a_page(
    store: Store, inputs: dict[str, Source], evaluation: Artifact, tmp_path: Path
) -> None:
    content = [{**record, "attribute_accuracy": None} for record in small_run.records() if record["model"] != "direct"]
    files = {name: evaluation.fetch(name) for name in ("contact.json", "paths.safetensors")}
    pictures = load_file(evaluation.fetch("contact.safetensors"))
    files |= {name: tmp_path / name for name in ("metrics.json", "contact.safetensors")}
    save_file({name: pictures[name] for name in pictures if name != "direct-1"}, files["contact.safetensors"])
    files["metrics.json"].write_text(json.dumps({"schema_version": 2, "protocol": {}, "records": content}))
    models = {"teacher": inputs["teacher"], "rectified": inputs["reflow-1"], "student": inputs["distill"]}
    measured = small_run.commit(store, "evaluate", files, config=small_run.EVALUATE, inputs=models)
    partial = {**inputs, "evaluate": measured}
    del partial["direct"]
    made = report(store, partial, Report(trajectories=0))
    assert made.manifest.metrics == {"claims_measured": 3, "claims_met": 3}
    text = made.fetch("report.html").read_text()
    assert "Attribute accuracy" not in text and "not measured" in text and "Path of latent" not in text
    assert "Direct" not in Page(text).text and "--role-direct" not in text


def _with_curve(store: Store, inputs: dict[str, Source], stage_id: str, loss: float, folder: Path) -> dict[str, Source]:
    """The inputs with another training curve of one stage: the same loss at every step."""
    made = inputs[stage_id]
    assert isinstance(made, Artifact)
    table = pq.read_table(made.fetch("curve.parquet"))
    at = table.column_names.index("loss")
    pq.write_table(table.set_column(at, "loss", pa.array([loss] * len(table))), folder / "curve.parquet")
    other = small_run.commit(
        store,
        stage_id,
        {"curve.parquet": folder / "curve.parquet"},
        config={**made.manifest.config, "other": str(loss)},
    )
    return {**inputs, stage_id: other}


@pytest.mark.parametrize("loss", [0.0, -1.0, math.nan, math.inf])
def test_a_curve_that_a_log_axis_cannot_show_says_so_in_its_place(
    loss: float, store: Store, inputs: dict[str, Source], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = " ".join(Page(_source(store, _with_curve(store, inputs, "reflow-1", loss, tmp_path))).text)
    told = "Reflow: loss cannot be drawn: no value is finite and positive, as its logarithmic axis needs."
    assert told in text and f"report: {told.removesuffix('.')}" in caplog.text
    assert "Distillation: loss" in text and "Gradient norm" in text, "the others are drawn"


@pytest.mark.parametrize("value", [math.nan, 0.0])
def test_paths_that_lead_nowhere_say_so_in_their_place(
    value: float, store: Store, inputs: dict[str, Source], evaluation: Artifact, tmp_path: Path
) -> None:
    paths = load_file(evaluation.fetch("paths.safetensors"))
    save_file({name: np.full_like(path, value) for name, path in paths.items()}, tmp_path / "paths.safetensors")
    text = _source(store, {**inputs, "evaluate": _measured(store, inputs, evaluation, tmp_path / "paths.safetensors")})
    assert "Paths of latents cannot be drawn: a path " in text and "Attribute accuracy" in text


def test_numbers_that_have_no_place_on_an_axis_say_so(
    store: Store, inputs: dict[str, Source], evaluation: Artifact, tmp_path: Path
) -> None:
    metrics = {
        "schema_version": 2, "protocol": {},
        "records": [{**record, "frechet_distance": 0.0, "clip_score": None} for record in small_run.records()],
    }  # fmt: skip
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    text = _source(store, {**inputs, "evaluate": _measured(store, inputs, evaluation, tmp_path / "metrics.json")})
    assert "Fréchet distance to the teacher cannot be drawn: no value is positive" in text
    assert "CLIP score cannot be drawn" not in text, "it was not measured"


def test_whatever_goes_wrong_in_a_figure_the_run_goes_on(
    store: Store, inputs: dict[str, Source], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    for name in ("_svg", "_binned"):
        monkeypatch.setattr(figures, name, fails)
    monkeypatch.setattr(report_module, "draw", fails)
    made = report(store, inputs)
    text = made.fetch("report.html").read_text()
    assert text.count("cannot be drawn: ZeroDivisionError.") == 11 and "All numbers" in text
    assert Image.open(made.fetch("contact_sheet.png")).size == (1, 1)


def _source(store: Store, inputs: dict[str, Source]) -> str:
    return report(store, inputs).fetch("report.html").read_text(encoding="utf-8")


def _measured(store: Store, inputs: dict[str, Source], evaluation: Artifact, other: Path) -> Artifact:
    """The evaluation with another file in the place of its own of that name."""
    names = ("metrics.json", "contact.json", "contact.safetensors", "paths.safetensors")
    files = {name: other if name == other.name else evaluation.fetch(name) for name in names}
    made = ("teacher", "reflow-1", "distill", "direct")
    models = {role.input: inputs[stage] for role, stage in zip(STANDARD, made, strict=True)}
    return small_run.commit(store, "evaluate", files, config={**small_run.EVALUATE, "seed": 7}, inputs=models)


def test_models_look_as_the_evaluation_was_told(store: Store, inputs: dict[str, Source], evaluation: Artifact) -> None:
    called = [role.model_copy(update={"label": f"My {role.name}"}) for role in STANDARD]
    called[2] = called[2].model_copy(update={"colour": "#123456"})
    config = {**small_run.EVALUATE, "roles": [role.model_dump(mode="json") for role in called]}
    made = ("teacher", "reflow-1", "distill", "direct")
    models = {role.input: inputs[stage] for role, stage in zip(STANDARD, made, strict=True)}
    names = ("contact.json", "contact.safetensors", "paths.safetensors", "metrics.json")
    files = {name: evaluation.fetch(name) for name in names}
    measured = small_run.commit(store, "evaluate", files, config=config, inputs=models)
    text = report(store, {**inputs, "evaluate": measured}).fetch("report.html").read_text()
    words = {word.strip() for word in Page(text).text}
    assert {role.label for role in called} <= words and not {"Teacher", "Student", "Direct"} & words
    assert "--role-student: #123456;" in text and STUDENT.colour not in text


def test_the_head_says_whose_page_it_is(
    store: Store, inputs: dict[str, Source], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report_module, "environment", lambda: {"git_commit": "c0ffee" * 7})
    behalf = Behalf(recipe="sd15-long", run="2026-01-02T030405-abc", teacher="<i>/models/sd15</i>")
    job = Job(STAGES["report"], ReportJob.of(Report(), "instaflow", CLAIMS, PAGE), inputs, store, PERF, behalf=behalf)
    made = do_job(job, silent)
    head = "".join(Page(made.fetch("report.html").read_text(encoding="utf-8")).text).partition("Pictures")[0]
    for said in ("recipe sd15-long", "teacher <i>/models/sd15</i>", "run 2026-01-02T030405-abc", "commit c0ffeec0ffee"):
        assert said in head
    other = report(LocalStore(tmp_path / "other"), inputs)
    assert (other.fingerprint, other.digest) == (made.fingerprint, made.digest), "no part of what is made"


def test_times_that_were_measured_beside_other_work_are_marked(tmp_path: Path) -> None:
    for disturbed in (True, False):
        store = LocalStore(tmp_path / str(disturbed))
        load: dict[str, JsonValue] = {"used_by_others": 1.2, "cores": 2, "disturbed": disturbed}
        inputs = small_run.run(store, tmp_path / f"made {disturbed}", load=load)
        page = Page(report(store, inputs).fetch("report.html").read_text(encoding="utf-8"))
        text = "".join(page.text)
        assert text.count("measured beside other work: 1.2 of 2 cores were busy with it") == 3 * disturbed
        (head,) = (row for row in page.cells if row[:1] == ["model"])
        marked = [heading.removesuffix(" †") for heading in head if heading.endswith("†")]
        assert marked == (["time, batch 1", "pictures per second"] if disturbed else [])
