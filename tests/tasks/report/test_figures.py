"""The figures: coloured by the page, the same bytes for the same data, true to the paths they draw."""

from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from tasks.evaluate.measured import Measured
from tasks.evaluate.metrics import METRICS
from tasks.report import figures
from tasks.report.figures import Curve, Figures
from tasks.roles import DIRECT, RECTIFIED, STANDARD, STUDENT, TEACHER
from tests.tasks import small_run

RECORDS = [Measured.model_validate(record) for record in small_run.records()]
FRECHET, *_ = METRICS
ACCURACY = next(metric for metric in METRICS if metric.unit == "%" and metric.title)
REAL, CLIP = (next(one for one in METRICS if one.key == key) for key in ("frechet_distance_coco", "clip_score"))
ALL = Figures(STANDARD)


def words(svg: str) -> list[str]:
    """The text that an SVG shows; it has to be well-formed."""
    found = ElementTree.fromstring(svg.replace("xlink:href", "href"))
    return [text for element in found.iter() if element.tag.endswith("text") and (text := "".join(element.itertext()))]


def curve(stage_id: str, role: figures.Role, phases: int = 1, losses: list[str] | None = None) -> Curve:
    steps = np.arange(1.0, 101.0)
    columns = {"step": steps, "phase": np.floor((steps - 1) * phases / 100), "loss": 1 / steps}
    return Curve(stage_id, role, columns, losses or [])


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
    svg = ALL.of_metric(RECORDS, FRECHET)
    assert svg is not None and "var(--role-teacher)" in svg and "floor" in svg and ">25<" in svg
    known = {*(role.colour for role in STANDARD), figures.INK, figures.MUTED, figures.LINE, figures.PAPER}
    assert not [colour for colour in re.findall(r"#[0-9a-f]{6}\b", svg) if colour in known]
    assert ALL.of_metric(RECORDS, FRECHET) == svg
    assert ALL.of_metric([], FRECHET) is None


def test_every_metric_with_a_title_has_a_figure() -> None:
    for metric in METRICS:
        if metric.title:
            svg = ALL.of_metric(RECORDS, metric)
            assert svg is not None and metric.title in words(svg)
            assert ("floor" in words(svg)) is metric.has_floor, metric.key


def test_a_figure_against_the_time_says_so() -> None:
    svg = ALL.of_metric(RECORDS, FRECHET, against="seconds_per_image")
    assert svg is not None
    assert {"Fréchet distance and time", "time for a picture, batch 1"} <= {*words(svg)}
    assert any(word.endswith(" ms") for word in words(svg))


def swept(steps: int, *points: tuple[float, float, float]) -> list[Measured]:
    return [
        Measured(model="teacher", steps=steps, guidance=scale, clip_score=score, frechet_distance_coco=distance)
        for scale, score, distance in points
    ]


def test_a_sweep_is_a_line_for_each_number_of_steps_its_points_named_by_guidance() -> None:
    few, many = swept(4, (5, 0.31, 30.0), (1, 0.25, 45.0)), swept(25, (5, 0.32, 22.0), (1.5, 0.28, 20.0), (9, 0.33, 27))
    others = [record for record in RECORDS if record.model != "teacher"]
    svg = ALL.sweep([*few, *many, *others], CLIP, REAL)
    assert svg is not None
    found = words(svg)
    assert {"1", "5 in 4 steps", "1.5", "5", "9 in 25 steps", CLIP.title, REAL.title} <= {*found}
    assert "9" not in found and "--role-teacher" in svg and "--role-2-rf" not in svg, "one guidance is no sweep"
    assert svg == ALL.sweep([*many[::-1], *few], CLIP, REAL), "in the order of the guidance"


def test_without_a_sweep_there_is_no_figure_of_it() -> None:
    assert ALL.sweep(RECORDS, CLIP, REAL) is None
    assert ALL.sweep(swept(4, (5, 0.31, 30.0)), CLIP, REAL) is None
    with pytest.raises(ValueError, match="no value is positive"):
        ALL.sweep(swept(4, (5, 0.31, 0.0), (1, 0.2, 0.0)), CLIP, REAL)


def test_a_share_is_drawn_in_percent() -> None:
    svg = ALL.of_metric(RECORDS, ACCURACY)
    assert svg is not None and any(re.fullmatch(r"\d+ %", word) for word in words(svg))


def test_only_the_given_roles_are_drawn() -> None:
    svg = Figures([TEACHER, STUDENT]).of_metric(RECORDS, FRECHET)
    assert svg is not None and "--role-teacher" in svg and "--role-student" in svg
    assert "--role-2-rf" not in svg and "--role-direct" not in svg
    assert Figures([]).of_metric(RECORDS, FRECHET) is None


def test_what_a_log_axis_cannot_show_is_left_out() -> None:
    zero = [r.model_copy(update={"frechet_distance": 0.0}) for r in RECORDS if r.model == "student"]
    with pytest.raises(ValueError, match="no value is positive"):
        ALL.of_metric(zero, FRECHET)
    assert ALL.of_metric([*RECORDS, *zero], FRECHET) == ALL.of_metric(RECORDS, FRECHET)
    negative = [r.model_copy(update={"clip_score": -0.5}) for r in RECORDS if r.model == "student"]
    assert ALL.of_metric(negative, next(m for m in METRICS if m.key == "clip_score")) is not None


def test_a_training_names_its_phases_and_draws_a_second_round_dashed() -> None:
    losses = ["l2", "perceptual"]
    svg = ALL.training([curve("distill", STUDENT, 2, losses), curve("direct", DIRECT, 2, losses)], "loss", "Loss")
    assert words(svg).count("l2") == words(svg).count("perceptual") == 2, "each curve has its own"
    assert {"Loss", "training step"} <= {*words(svg)}
    one = ALL.training([curve("reflow-1", RECTIFIED)], "loss", "Loss")
    two = ALL.training([curve("reflow-1", RECTIFIED), curve("reflow-2", RECTIFIED)], "loss", "Loss")
    assert two.count("stroke-dasharray") == one.count("stroke-dasharray") + 1


def test_a_phase_ends_where_it_ends_in_its_own_curve() -> None:
    def lines(svg: str) -> dict[str, set[str]]:
        """Where each role's vertical lines are, across."""
        upright = r'd="M ([\d.]+) [\d.]+ \nL \1 [\d.]+ \n"[^>]*stroke: var\(--role-([\w-]+)\)'
        found = re.findall(upright, svg)
        return {role: {x for x, one in found if one == role} for _, role in found}

    early, late = curve("distill", STUDENT, 2, ["l2", "perceptual"]), curve("direct", DIRECT, 2, ["huber", "l2"])
    steps = late.columns["step"]
    late = replace(late, columns={**late.columns, "phase": (steps > 80).astype(float)})
    plain = curve("reflow-1", RECTIFIED, 1, ["l2"])
    found = lines(ALL.training([plain, early, late], "loss", "Loss"))
    assert found.keys() == {"student", "direct"} and all(len(at) == 1 for at in found.values())
    assert float(*found["student"]) < float(*found["direct"])


def test_a_curve_of_a_single_point_is_seen() -> None:
    whole = curve("reflow-1", RECTIFIED)
    short = replace(whole, columns={name: column[:1] for name, column in whole.columns.items()})
    marker = re.compile(r"<use [^>]*fill: var\(--role-2-rf\); stroke: var\(--role-2-rf\)")
    assert len(marker.findall(ALL.training([short], "loss", "Loss"))) == 1
    assert not marker.findall(ALL.training([whole], "loss", "Loss"))


def test_steps_whose_loss_a_log_axis_cannot_show_leave_no_trace_in_the_curve() -> None:
    whole = curve("reflow-1", RECTIFIED)
    loss = np.where(whole.columns["step"] % 2 == 0, np.nan, whole.columns["loss"])
    odd = {name: column[::2] for name, column in whole.columns.items()}
    holes = replace(whole, columns={**whole.columns, "loss": loss})
    assert ALL.training([holes], "loss", "Loss") == ALL.training([replace(whole, columns=odd)], "loss", "Loss")


def test_each_latent_has_a_panel_with_the_path_of_every_role() -> None:
    paths = np.random.default_rng(0).standard_normal((3, 5, 16)).cumsum(1)
    panels = ALL.trajectories({"2-rf": paths, "teacher": paths[:, ::-1]})
    assert [words(panel)[-1] for panel in panels] == [f"Path of latent {number}" for number in (1, 2, 3)]
    assert all("--role-teacher" in panel and "--role-2-rf" in panel for panel in panels)
