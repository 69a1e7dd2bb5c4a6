"""The published weights have the paper's sign and timestep: sampled as their authors say, and then one of ours."""

from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.store import Store
from models.pipelines.opening import open_pipeline
from tasks.progress import silent
from tasks.sections import Adopt
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.models.untrained import captions, noise
from tests.tasks.conftest import PERF


def adopt(folder: Folder, store: Store) -> Artifact:
    return run_stage(STAGES["adopt"], Adopt(), {"teacher": folder}, store, PERF, silent)


@torch.no_grad()
def published_loop(folder: Folder, latents: Tensor, prompts: list[str], steps: int, guidance: float) -> Tensor:
    """The sampling loop of the authors' pipeline (gnobitab/InstaFlow, code/pipeline_rf.py), line by line."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder.path)
    embeddings, empty = pipeline.encode_prompt(prompts, "cpu", 1, guidance > 1)
    embeddings = torch.cat([empty, embeddings]) if guidance > 1 else embeddings
    for t in [(1.0 - i / steps) * 1000.0 for i in range(steps)]:
        twice = torch.cat([latents] * 2) if guidance > 1 else latents
        v = pipeline.unet(twice, torch.ones(len(twice)) * t, encoder_hidden_states=embeddings).sample
        if guidance > 1:
            without, with_text = v.chunk(2)
            v = without + guidance * (with_text - without)
        latents = latents + 1.0 / steps * v
    return latents


@pytest.mark.parametrize(("steps", "guidance"), [(1, 1.0), (2, 1.5), (25, 1.5)])
def test_the_documented_loop_is_reproduced(teacher: Folder, store: Store, steps: int, guidance: float) -> None:
    model = open_pipeline(adopt(teacher, store).folder("model"))
    assert model.parameterization == "raw"
    found = model.sample(noise(2), captions(2), steps, guidance, "euler")
    expected = published_loop(teacher, noise(2), captions(2), steps, guidance)
    assert (found - expected).norm() < 1e-5 * expected.norm()


def test_stock_diffusers_draws_it_as_it_is(teacher: Folder, store: Store) -> None:
    folder = adopt(teacher, store).folder("model")
    stock = StableDiffusionPipeline.from_pretrained(folder)
    theirs = stock(captions(1), num_inference_steps=1, guidance_scale=1.0, latents=noise(1), output_type="latent")
    expected = published_loop(teacher, noise(1), captions(1), 1, 1.0)
    assert (theirs.images - expected).norm() < 1e-3 * expected.norm()


def test_a_flow_of_ours_is_not_turned(flow: Folder, store: Store) -> None:
    with pytest.raises(UserError, match=r"^teacher\.convention: paper: the folder says that it is a raw flow of ours"):
        adopt(flow, store)
