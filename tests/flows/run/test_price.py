"""The price of a stage's work, counted by hand, and the plan that shows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.run.price import price, trained
from infra.recipe import Section
from models.flops import ModelCost
from tasks.roles import STANDARD
from tasks.sections import (
    Coco,
    Distill,
    DistillPhase,
    Evaluate,
    EvaluateJob,
    PairsJob,
    Perceptual,
    Prompts,
    ReflowJob,
    ReflowPhase,
)
from tests import ROOT
from tests.flows.kitchen import Kitchen

MODEL = ModelCost(forward=10.0, decode=100.0, compare=8.0, parameters=7, latent_elements=256)
LPIPS = Perceptual(kind="lpips", trunk_weights="vgg16.pth")
ONE = (ReflowPhase(steps=3, batch_size=4), ReflowPhase(steps=2, batch_size=10))


@pytest.mark.parametrize(
    ("config", "samples", "flop", "size"),
    [
        (PairsJob(samples=5, steps=25, guidance=5.0), 5, 5 * 25 * 2 * 10, 5 * 2 * 256 * 4),
        (PairsJob(samples=5, steps=25, guidance=1.0), 5, 5 * 25 * 10, 5 * 2 * 256 * 4),
        (PairsJob(), 0, 0, 0),
        (ReflowJob(phases=ONE, warmup_steps=0), 32, 32 * 3 * 10, 28),
        (
            ReflowJob(phases=ONE, warmup_steps=0, loss="lpips_huber", perceptual=LPIPS),
            32,
            32 * (3 * 10 + 3 * 100 + 1.5 * 8),
            28,
        ),
        (
            Distill(
                phases=(DistillPhase(steps=2, batch_size=4), DistillPhase(loss="perceptual", steps=3, batch_size=2)),
                warmup_steps=0,
                perceptual=LPIPS,
            ),
            14,
            14 * 3 * 10 + 6 * (3 * 100 + 1.5 * 8),
            28,
        ),
        (
            Distill(architecture="stacked", phases=(DistillPhase(steps=2, batch_size=4),), warmup_steps=0),
            8,
            8 * 3 * 20,
            56,
        ),
    ],
)
def test_a_stage_costs_what_its_samples_cost(config: Section, samples: int, flop: float, size: int) -> None:
    found = price(config, {"teacher": MODEL})
    assert found is not None and (found.samples, found.flop, found.bytes) == (samples, pytest.approx(flop), size)


def test_an_evaluation_costs_every_picture_and_the_reference() -> None:
    told = Evaluate(num_images=10, steps=(1,), teacher_steps=2, teacher_guidance=5, rectified_guidance=1,
                    straightness_images=3)  # fmt: skip
    models = {"teacher": MODEL, "rectified": MODEL, "student": MODEL.stacked}
    found = price(EvaluateJob.of(told, Coco(), STANDARD), models)
    teacher, rectified, student = (2 + 1) * 2 * 10, (2 + 1) * 10, 20
    pictures = teacher + rectified + student + 5 * 100 + (2 * 2 * 10 + 100)
    assert found is not None and found.samples == 60
    assert found.flop == 10 * pictures + 3 * (2 * 2 * 10 + 2 * 10)


def test_what_is_not_known_has_no_price() -> None:
    assert price(ReflowJob(), {}) is None
    assert price(Prompts(), {"teacher": MODEL}) is None
    assert trained(Distill(), MODEL) == trained(ReflowJob(), MODEL) == MODEL
    assert trained(Distill(architecture="stacked"), MODEL) == MODEL.stacked


@pytest.fixture
def priced(kitchen: Kitchen, weights: Path) -> Kitchen:
    """A teacher whose configs are those of the miniature one."""
    for part in ("unet", "vae"):
        (weights / "teacher" / part).mkdir()
        config = (ROOT / "models/mini/weights/teacher" / part / "config.json").read_text()
        (weights / "teacher" / part / "config.json").write_text(config)
    return kitchen


def test_a_plan_prices_what_is_left(priced: Kitchen) -> None:
    lines = priced.plan("prompts.reflow_count=100", "pairs.steps=10", "pairs.guidance=3.0")
    pairs = lines["pairs-1"]
    assert pairs.samples == 100 and pairs.tflop == pytest.approx(100 * 10 * 2 * 4.728e-5, rel=1e-3)
    assert pairs.expected_bytes == 100 * 2 * 256 * 4 and pairs.device_days is None
    assert lines["reflow-1"].samples == 6000 * 64 and lines["world"].tflop is None
    stacked = priced.plan("distill.architecture=stacked")
    assert stacked["distill"].tflop is not None and lines["distill"].tflop is not None
    assert 1.5 * lines["distill"].tflop < stacked["distill"].tflop < 2 * lines["distill"].tflop
    assert stacked["evaluate"].tflop == pytest.approx(lines["evaluate"].tflop + 1000 * 4.728e-5, rel=1e-3)


def test_days_are_of_the_rate_that_the_recipe_says(priced: Kitchen) -> None:
    slow, fast = priced.plan("performance.tflops=0.001"), priced.plan("performance.tflops=0.002")
    assert slow["reflow-1"].tflop is not None
    assert slow["reflow-1"].device_days == pytest.approx(slow["reflow-1"].tflop / 0.001 / 86_400)
    assert fast["reflow-1"].device_days == pytest.approx(slow["reflow-1"].device_days / 2)  # type: ignore[operator]


def test_days_are_else_those_of_an_earlier_run_and_what_is_there_costs_nothing(priced: Kitchen) -> None:
    priced.run()
    assert all(line.tflop is None and line.device_days is None for line in priced.plan().values())
    again = priced.plan("reflow.text_dropout=0.5")["reflow-1"]
    if again.expected_seconds is not None:
        assert again.device_days == pytest.approx(again.expected_seconds / 86_400)
    assert again.tflop is not None


def test_a_teacher_that_is_not_known_has_no_price(kitchen: Kitchen) -> None:
    lines = kitchen.plan()
    assert all(line.tflop is None and line.samples is None for line in lines.values())
    assert json.dumps([line.tflop for line in lines.values()])
