"""A look at a network in training: what it draws of pairs whose latents are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from infra.artifact import Artifact, Folder
from models.pipelines.text_to_image import TextToImage
from models.pipelines.training import trainable
from tasks.data.load import load_model
from tasks.data.looks import decoded
from tasks.data.strip import sheet
from tasks.train.glance import PAIRS, PICTURES, SIDE, Glancing
from tasks.train.pair_sets import PairSets


@pytest.fixture
def model(flow: Folder) -> TextToImage:
    return trainable(load_model(flow), "raw")


def test_the_distance_is_that_of_one_step_to_the_latents_of_the_pairs(model: TextToImage, pairs: Artifact) -> None:
    sets = PairSets([pairs])
    noise, latent, prompts = sets.batch(np.arange(PAIRS))
    drawn = model.sample(noise, prompts, 1, 1.0, "euler")
    seen = Glancing(model, sets, "fp32", is_flow=True)()
    assert seen.distance_to_own_teacher == pytest.approx(float((drawn - latent).square().mean()))
    assert seen.straightness is not None and seen.straightness > 0


def test_what_learns_no_path_has_no_straightness(model: TextToImage, teacher: Folder, pairs: Artifact) -> None:
    assert Glancing(model, PairSets([pairs]), "fp32", is_flow=False)().straightness is None
    diffusion = trainable(load_model(teacher), "epsilon")
    assert Glancing(diffusion, PairSets([pairs]), "fp32", is_flow=True)().straightness is None


def test_the_sheet_has_the_pairs_above_and_the_drawings_below(model: TextToImage, pairs: Artifact) -> None:
    sets = PairSets([pairs])
    noise, latent, prompts = sets.batch(np.arange(PAIRS))
    drawn = model.sample(noise, prompts, 1, 1.0, "euler")
    rows = [decoded(model, latents[:PICTURES]) for latents in (latent, drawn)]
    assert rows[0] != rows[1] and len(rows[0]) == PICTURES
    assert Glancing(model, sets, "fp32", is_flow=False)().sheet == sheet(rows, SIDE)


def test_nothing_is_learnt_from_looking(model: TextToImage, pairs: Artifact) -> None:
    before = {name: p.detach().clone() for name, p in model.denoiser.named_parameters()}
    Glancing(model, PairSets([pairs]), "bf16", is_flow=True)()
    for name, parameter in model.denoiser.named_parameters():
        assert parameter.requires_grad and parameter.grad is None and torch.equal(parameter, before[name])
