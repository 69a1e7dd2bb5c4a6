"""Every bundled recipe for a real teacher runs from prompts to report, in tiny: same classes, same fields."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline

from flows.recipes import bundled, load_recipe
from infra.recipe import apply_overrides
from infra.store.local import LocalStore
from models.pipelines.opening import open_pipeline
from models.stacked_unet import StackedUNet
from tasks.evaluate.measured import read_metrics
from tests import tiny_recipes
from tests.models.untrained import captions, noise

OURS = ("mini", "tiny", "weights")
"""Of the miniature world: they run as they are elsewhere."""

REAL = [name for name in bundled() if name not in OURS and load_recipe(name).algorithm == "instaflow"]
"""The presets that measure alone are run by tests/flows/cli/test_measuring.py."""


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_recipes.stand_ins(tmp_path_factory.mktemp("stand-ins"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    """One for all: what two recipes have in common is made once."""
    return LocalStore(tmp_path_factory.mktemp("tiny") / "store")


def fields(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of plain data by its dotted name."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from fields(item, f"{key}.{name}".strip("."))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, item in enumerate(value):
            yield from fields(item, f"{key}.{number}")
    else:
        yield key, value


@pytest.mark.parametrize("name", REAL)
def test_a_tiny_copy_differs_in_paths_and_sizes_alone(name: str, tmp_path: Path) -> None:
    recipe, copy = load_recipe(name), tiny_recipes.tiny(name, tmp_path)
    whole, small = (dict(fields(one.model_dump(mode="json"))) for one in (recipe, copy))
    assert whole.keys() == small.keys() and type(recipe) is type(copy)
    different = {key for key in whole if whole[key] != small[key]}
    assert different and all(tiny_recipes.changed(key) for key in different)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_it_runs_from_prompts_to_report(name: str, stand_ins: Path, store: LocalStore) -> None:
    made = tiny_recipes.run(tiny_recipes.tiny(name, stand_ins), store)
    measured = read_metrics(made["evaluate"].fetch("metrics.json"))
    assert {record.model for record in measured.records} >= {"teacher", "2-rf", "student"}
    assert "<html" in made["report"].fetch("report.html").read_text(encoding="utf-8")
    folder = made["distill"].folder("model")
    student = open_pipeline(folder)
    assert isinstance(student.denoiser, StackedUNet) == (name == "sd15-instaflow-1.7b")
    if student.parameterization == "raw":  # a converted flow is nothing that stock code knows
        ours = student.sample(noise(1), captions(1), 1, 1.0, "euler")
        stock = StableDiffusionPipeline.from_pretrained(folder)
        drawn = stock(captions(1), latents=noise(1), num_inference_steps=1, guidance_scale=1.0, output_type="latent")
        torch.testing.assert_close(drawn.images, ours, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_rectified_diffusion_is_a_matter_of_fields(stand_ins: Path, store: LocalStore) -> None:
    kept = ["reflow.parameterization=epsilon", "distill.parameterization=epsilon"]
    recipe = apply_overrides(tiny_recipes.tiny("sd15-fast", stand_ins), kept)
    made = tiny_recipes.run(recipe, store)
    assert read_metrics(made["evaluate"].fetch("metrics.json")).records
    for stage in ("reflow-1", "distill"):
        assert open_pipeline(made[stage].folder("model")).parameterization == "diffusion"
    student = open_pipeline(made["distill"].folder("model"))
    stock = StableDiffusionPipeline.from_pretrained(made["distill"].folder("model"))
    drawn = stock(captions(1), latents=noise(1), num_inference_steps=1, guidance_scale=1.0, output_type="latent").images
    ours = student.sample(noise(1), captions(1), 1, 1.0, "ddim")
    torch.testing.assert_close(drawn, ours, atol=1e-4 * float(ours.abs().max()), rtol=0)
