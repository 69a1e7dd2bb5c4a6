"""The page shows every number and picture of the evaluation, is self-contained, and trusts no prompt."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from infra.artifact import Artifact, Draft, Source
from infra.errors import UserError
from infra.fingerprint import fingerprint
from infra.recipe import Performance, Report
from infra.store import Store
from tasks import figures
from tasks.contact_sheet import read_contact_sheet
from tasks.measured import Measured, claims, read_metrics, shown
from tasks.progress import silent
from tasks.report import make_report
from tasks.stage import StageResult
from tests.tasks import small_run
from tests.tasks.small_run import NASTY

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


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "store")


@pytest.fixture
def inputs(store: Store, tmp_path: Path) -> dict[str, Source]:
    return small_run.run(store, tmp_path / "made", [NASTY])


def report(
    store: Store, inputs: dict[str, Source], config: Report | None = None
) -> tuple[dict[str, Path], StageResult]:
    """The committed files of the stage by name."""
    with Draft(store, "report", fingerprint("report", 1, {}, {})) as draft:
        result = make_report(config or Report(), inputs, draft, Performance(), silent)
        unit = draft.units()["report"]
        assert all(file.volatile for file in unit.files), "the page shows timings"
        return {file.name: draft.fetch(file) for file in unit.files}, result


@pytest.fixture
def source(store: Store, inputs: dict[str, Source]) -> str:
    return report(store, inputs)[0]["report.html"].read_text(encoding="utf-8")


def test_the_stage_commits_page_sheet_and_metrics(store: Store, inputs: dict[str, Source]) -> None:
    files, result = report(store, inputs)
    assert set(files) == {"report.html", "contact_sheet.png", "metrics.json"}
    evaluation = inputs["evaluate"]
    assert isinstance(evaluation, Artifact)
    assert files["metrics.json"].read_bytes() == evaluation.fetch("metrics.json").read_bytes()
    assert result.metrics == {"claims_measured": 5, "claims_met": 5}
    assert report(store, inputs)[0] == files, "a committed unit is not made again"


def test_every_record_is_in_the_table(source: str) -> None:
    rows = Page(source).cells
    for record in small_run.records():
        numbers = (record["steps"], record["guidance"], record["frechet_distance"], record["clip_score"])
        label = figures.LABELS[str(record["model"])]
        row = next(r for r in rows if r[:2] == [label, str(record["steps"])])
        assert row[2] == shown(float(str(numbers[1])))
        assert row[5] == shown(float(str(numbers[2]))) and row[7] == shown(float(str(numbers[3])))
        assert record["straightness"] is not None or row[9] == "–"


def test_the_pictures_are_the_evaluations_pixel_by_pixel(source: str, inputs: dict[str, Source]) -> None:
    evaluation = inputs["evaluate"]
    assert isinstance(evaluation, Artifact)
    sheet = read_contact_sheet(evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json"), 10)
    found = [_decoded(uri) for uri in Page(source).values("img", "src")]
    expected = [picture for row in [*sheet.shown(), *sheet.others()] for picture in row.pictures]
    assert len(found) == 12 * 10 and {picture.shape for picture in found} == {(32, 32, 3)}
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))
    assert [(row.model, row.steps) for row in sheet.shown()] == [
        ("teacher", 25), ("2-rf", 25), ("2-rf", 4), ("2-rf", 2), ("2-rf", 1), ("student", 1), ("direct", 1),
    ]  # fmt: skip


def _decoded(uri: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_the_contact_sheet_holds_the_pictures_enlarged_without_blur(store: Store, inputs: dict[str, Source]) -> None:
    evaluation = inputs["evaluate"]
    assert isinstance(evaluation, Artifact)
    sheet = read_contact_sheet(evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json"), 3)
    drawn = np.asarray(Image.open(report(store, inputs, Report(columns=3))[0]["contact_sheet.png"]))
    for row in sheet.shown():
        for picture in row.pictures:
            assert _holds(drawn, picture.repeat(3, 0).repeat(3, 1)), f"{row.label} in {row.steps_label}"


def _holds(
    whole: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    part: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
) -> bool:
    height, width, _ = part.shape
    starts = np.argwhere((whole == part[0, 0]).all(-1))
    return any(np.array_equal(whole[y : y + height, x : x + width], part) for y, x in starts)


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
    store: Store, inputs: dict[str, Source], tmp_path: Path
) -> None:
    content = [{**record, "attribute_accuracy": None} for record in small_run.records() if record["model"] != "direct"]
    evaluation = inputs["evaluate"]
    assert isinstance(evaluation, Artifact)
    files = {name: evaluation.fetch(name) for name in ("contact.json", "contact.safetensors", "paths.safetensors")}
    files["metrics.json"] = tmp_path / "metrics.json"
    files["metrics.json"].write_text(json.dumps({"schema_version": 1, "protocol": {}, "records": content}))
    partial = {**inputs, "evaluate": small_run.commit(store, "evaluate", files)}
    del partial["direct"]
    found, result = report(store, partial, Report(trajectories=0))
    assert result.metrics == {"claims_measured": 3, "claims_met": 3}
    text = found["report.html"].read_text()
    assert "Attribute accuracy" not in text and "not measured" in text and "Path of latent" not in text


def test_a_claim_that_is_missed_says_so() -> None:
    records = [Measured.model_validate(record) for record in small_run.records()]
    worse = [
        r.model_copy(update={"frechet_distance": 9.0, "distance_to_own_teacher": 0.2}) if r.model == "student" else r
        for r in records
    ]
    assert [claim.holds for claim in claims(records)] == [True, True, True, True, True, None]
    assert [claim.holds for claim in claims(worse)] == [True, False, True, False, True, None]
    assert all(claim.holds is None for claim in claims([]))


def test_metrics_of_another_schema_are_refused_by_field(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text('{"schema_version": 2, "protocol": {}, "records": []}')
    with pytest.raises(UserError, match=r"metrics\.json: schema_version: .*1.*found 2"):
        read_metrics(path)
    path.write_text('{"schema_version": 1, "protocol": {}, "records": [{"model": "teacher", "steps": "few"}]}')
    with pytest.raises(UserError, match=r"records\.0\.steps"):
        read_metrics(path)


def test_a_straight_path_lies_on_its_chord() -> None:
    random = np.random.default_rng(0)
    noise, latent, aside = random.standard_normal((3, 48))
    t = np.linspace(0, 1, 9)[:, None]
    flat = figures.project(noise + t * (latent - noise))
    assert np.allclose(flat, np.concatenate([t, 0 * t], axis=1), atol=1e-12)

    chord = latent - noise
    aside -= chord * (aside @ chord) / (chord @ chord)
    aside *= 0.25 * np.linalg.norm(chord) / np.linalg.norm(aside)
    bent = figures.project(noise + t * chord + np.sin(np.pi * t) * aside)
    assert np.allclose(bent[:, 0], t[:, 0]) and np.allclose(bent[:, 1], 0.25 * np.sin(np.pi * t[:, 0]))


def test_figures_take_their_colours_from_the_page() -> None:
    records = [Measured.model_validate(record) for record in small_run.records()]
    svg = figures.quality(records, "frechet_distance", "Fréchet distance", log=True, floor=True)
    assert svg is not None and "var(--teacher)" in svg and "floor" in svg and ">25<" in svg
    known = {*figures.COLOURS.values(), figures.INK, figures.MUTED, figures.LINE, figures.PAPER}
    assert not [colour for colour in re.findall(r"#[0-9a-f]{6}\b", svg) if colour in known]
    assert figures.quality(records, "frechet_distance", "Fréchet distance", log=True, floor=True) == svg
    assert figures.quality([], "frechet_distance", "Fréchet distance", log=True) is None
