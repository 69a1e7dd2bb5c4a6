"""A picture from a prompt: a function of model, prompt and seed."""

from __future__ import annotations

import numpy as np
import pytest

from infra.artifact import Folder
from infra.errors import UserError
from models.pipelines.opening import open_pipeline
from tasks.data.generate import generate
from tasks.order import derive_seed, sample_noise

PROMPT = "a large red circle"


def test_a_seed_has_its_picture(flow: Folder) -> None:
    first, again, other = (np.asarray(generate(flow, PROMPT, steps=1, guidance=1.0, seed=seed)) for seed in (0, 0, 1))
    assert first.shape == (32, 32, 3) and first.dtype == np.uint8
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(("source", "solver"), [("teacher", "dpmsolver++"), ("flow", "euler")])
def test_each_kind_of_model_has_its_own_solver(source: str, solver: str, request: pytest.FixtureRequest) -> None:
    folder: Folder = request.getfixturevalue(source)
    model = open_pipeline(folder.path)
    noise = sample_noise([derive_seed(3, "generate")], model.latent_shape)
    expected = model.decode(model.sample(noise, [PROMPT], 2, 2.0, solver))[0].permute(1, 2, 0).numpy()
    for chosen in (None, solver):
        found = generate(folder, PROMPT, steps=2, guidance=2.0, solver=chosen, seed=3)
        assert np.array_equal(np.asarray(found), expected)


def test_a_solver_that_the_model_lacks_is_named(flow: Folder) -> None:
    with pytest.raises(UserError, match=r"^solver 'ddim': a raw model is solved with one of euler"):
        generate(flow, PROMPT, steps=1, guidance=1.0, solver="ddim")
