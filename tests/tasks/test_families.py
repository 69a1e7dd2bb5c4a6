"""Each family of teachers goes through every stage: pairs, reflow, pairs, distill, evaluate, and out to diffusers.

The folders are tiny ones of the real classes with random weights; the stages are the real ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusion3Pipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

from infra.artifact import Artifact, Folder, Source
from infra.pairs import PairDataset
from infra.recipe import Section
from infra.store import Store
from models.losses import one_step, squared
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from tasks.data.generate import generate
from tasks.order import derive_seed, sample_noise
from tasks.progress import silent
from tasks.sections import Distill, DistillPhase, EvaluateJob, RealJob, ReflowJob, ReflowPhase
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.models.pipelines import repositories, tiny
from tests.tasks.conftest import PAIRS, PERF

PROMPT = "a large red circle on the left"
REFLOW = ReflowJob(
    parameterization="raw", phases=(ReflowPhase(steps=12, batch_size=10, learning_rate=3e-3),), warmup_steps=2,
    text_dropout=0.2, precision="bf16",
)  # fmt: skip
DISTILL = Distill(
    phases=(
        DistillPhase(steps=15, batch_size=10, learning_rate=3e-3),
        DistillPhase(loss="perceptual", latent_weight=1.0, steps=3, batch_size=4, learning_rate=1e-3),
    ),
    warmup_steps=2,
    ema_decay=0.9,
)
EVALUATE = EvaluateJob(num_images=4, steps=(1,), teacher_steps=2, teacher_guidance=2.0, straightness_images=2)


@dataclass(frozen=True)
class Family:
    """How a tiny folder is made, what its ODE is solved with, and who opens what is made of it."""

    make: Callable[[Path], Path]
    solver: str
    stock: type[DiffusionPipeline]


FAMILIES = {
    "sd15": Family(repositories.stable_diffusion_15, "dpmsolver++", StableDiffusionPipeline),
    "sd2": Family(repositories.stable_diffusion_2, "unipc", StableDiffusionPipeline),
    "xl": Family(tiny.stable_diffusion_xl, "dpmsolver++", StableDiffusionXLPipeline),
    "sd3": Family(tiny.stable_diffusion_3, "heun", StableDiffusion3Pipeline),
}


@dataclass(frozen=True)
class Made:
    """What the chain made, by stage."""

    family: Family
    teacher: Source
    pairs: Artifact
    reflow: Artifact
    pairs_student: Artifact
    distill: Artifact
    evaluate: Artifact


@pytest.fixture(scope="module", params=FAMILIES)
def made(
    request: pytest.FixtureRequest,
    base: Path,
    shared: Store,
    prompts: Artifact,
    coco: Artifact,
    clip: Folder,
    judge: Folder,
) -> Made:
    family = FAMILIES[request.param]

    def do(stage: str, section: Section, inputs: Mapping[str, Source]) -> Artifact:
        return run_stage(STAGES[stage], section, inputs, shared, PERF, silent)

    teacher = Folder.open(family.make(base / request.param), "model")
    told = PAIRS.model_copy(update={"solver": family.solver})
    pairs = do("pairs", told, {"teacher": teacher, "prompts": prompts})
    reflow = do("reflow", REFLOW, {"teacher": teacher, "pairs": pairs})
    told = PAIRS.model_copy(update={"solver": "euler", "steps": 3, "guidance": 1.5, "seed": 1})
    again = do("pairs", told, {"teacher": reflow, "prompts": prompts})
    student = do("distill", DISTILL, {"teacher": reflow, "pairs": again, "clip": clip})
    told = EVALUATE.model_copy(update={"teacher_solver": family.solver})
    models = {"teacher": teacher, "rectified": reflow, "student": student}
    looked_at: dict[str, Source] = {"coco": coco, "judge": judge}
    real = do("real", RealJob.of(told, told.coco), {**looked_at, "teacher": teacher})
    measured = do("evaluate", told, {**looked_at, "real": real, **models})
    return Made(family, teacher, pairs, reflow, again, student, measured)


def model_of(source: Source) -> TextToImage:
    return open_pipeline(source.folder("model"))


def test_every_pair_is_sound(made: Made) -> None:
    for pairs in (made.pairs, made.pairs_student):
        assert (pairs.manifest.metrics["pairs"], pairs.manifest.metrics["quarantined"]) == (20, 0)
    noise, latent, _ = PairDataset(made.pairs).batch(np.arange(20))
    assert noise.shape[1:] == latent.shape[1:] == model_of(made.teacher).latent_shape
    assert abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05


def test_the_student_gets_nearer_to_its_pairs_and_only_its_network_learns(made: Made) -> None:
    noise, latent, prompts = PairDataset(made.pairs_student).batch(np.arange(20))
    before, after = model_of(made.reflow), model_of(made.distill)
    with torch.no_grad():
        errors = [float(squared(one_step(model.velocity(), noise, model.encode(prompts)) - latent).mean())
                  for model in (before, after)]  # fmt: skip
    assert errors[1] < max(0.8 * errors[0], 0.05)  # an untrained v field is next to nothing: there is little to learn
    for name, part in before.pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            theirs = after.pipeline.components[name].state_dict()
            same = all(torch.equal(one, theirs[key]) for key, one in part.state_dict().items())
            assert same is (part is not before.denoiser), name


def test_the_flows_paths_are_measured_beside_the_teachers(made: Made) -> None:
    found = json.loads(made.evaluate.fetch("metrics.json").read_text())
    cells = {(record["model"], record["steps"]): record for record in found["records"]}
    assert {("teacher", 2), ("teacher", 1), ("2-rf", 2), ("2-rf", 1), ("student", 1)} < cells.keys()
    for cell in cells.values():
        assert all(np.isfinite(value) for value in cell.values() if isinstance(value, float))
    assert cells["2-rf", 2]["straightness"] >= 0 and cells["student", 1]["distance_to_own_teacher"] > 0
    assert cells["teacher", 2]["solver"] == made.family.solver


@pytest.mark.parametrize("stage", ["reflow", "distill"])
def test_stock_diffusers_draws_what_we_draw(stage: str, made: Made, tmp_path: Path) -> None:
    source: Artifact = getattr(made, stage)
    guidance = {"reflow": 1.5, "distill": 1.0}[stage]
    ours = np.asarray(generate(source, PROMPT, steps=1, guidance=guidance, seed=3)).astype(int)
    pipeline: Any = made.family.stock.from_pretrained(source.folder("model"))
    pipeline.set_progress_bar_config(disable=True)
    noise = sample_noise([derive_seed(3, "generate")], model_of(source).latent_shape)
    theirs = pipeline(PROMPT, num_inference_steps=1, guidance_scale=guidance, latents=noise, output_type="np").images[0]
    assert np.abs(ours - (theirs * 255).round()).max() <= 1
    assert ours.std() > 10
