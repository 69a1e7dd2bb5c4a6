"""Reflow as a stage: it learns, resumes bitwise, and keeps what the output of its teacher means."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from infra.artifact import Artifact, Folder, Source
from infra.pairs import PairDataset
from infra.store import Store
from infra.store.local import LocalStore
from models.losses import squared
from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from models.solvers import euler, sigma_grid
from tasks.progress import Progress, silent
from tasks.sections import Reflow
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PERF, Killed, killed_after

REFLOW = Reflow(
    parameterization="raw", sigma_density="u_shaped", loss="huber", steps=8, batch_size=4, warmup_steps=2,
    text_dropout=0.3, checkpoint_every_steps=3,
)  # fmt: skip


def reflowed(config: Reflow, inputs: Mapping[str, Source], store: Store, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["reflow"], config, inputs, store, PERF, progress)


@pytest.mark.parametrize("parameterization", ["raw", "converted"])
def test_a_reflow_stopped_and_repeated_is_the_same_bitwise(
    parameterization: str, teacher: Folder, pairs: Artifact, tmp_path: Path
) -> None:
    config = REFLOW.model_copy(update={"parameterization": parameterization})
    made_from = {"teacher": teacher, "pairs": pairs}
    whole = reflowed(config, made_from, LocalStore(tmp_path / "whole"))
    assert open_pipeline(whole.folder("model")).parameterization == parameterization
    store = LocalStore(tmp_path / "stopped")
    for told in (5, 2):  # twice, between checkpoints
        with pytest.raises(Killed):
            reflowed(config, made_from, store, killed_after(told))
    assert reflowed(config, made_from, store).digest == whole.digest


def test_a_second_round_keeps_what_the_first_ones_output_means(teacher: Folder, pairs: Artifact, store: Store) -> None:
    converted = REFLOW.model_copy(update={"parameterization": "converted", "steps": 2})
    first = reflowed(converted, {"teacher": teacher, "pairs": pairs}, store)
    second = reflowed(REFLOW, {"teacher": first, "pairs": pairs}, store)
    assert open_pipeline(second.folder("model")).parameterization == "converted"


def test_a_reflow_gets_nearer_to_its_pairs(flow: Folder, student_pairs: Artifact, store: Store) -> None:
    config = REFLOW.model_copy(
        update={"steps": 20, "batch_size": 10, "text_dropout": 0.0, "loss": "l2", "learning_rate": 1e-3}
    )
    made_from = {"teacher": flow, "pairs": student_pairs}
    models = [flow.path, reflowed(config, made_from, store).folder("model")]
    data = PairDataset(student_pairs)
    noise, latent, prompts = data.batch(np.arange(len(data)))

    def error(model: TextToImage) -> float:
        found = euler(model.velocity(), noise, model.encode(prompts), sigma_grid(2))
        return float(squared(found - latent).mean())

    before, after = (error(open_pipeline(folder)) for folder in models)
    assert after < 0.5 * before
