"""Training the small teacher: two networks in a row, resumed bitwise, neither trained twice."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from infra.artifact import MANIFEST, Artifact
from infra.store import Store
from infra.store.local import LocalStore
from models.pipelines.opening import open_pipeline
from tasks.progress import Progress, silent
from tasks.sections import TrainTeacher
from tasks.stage import run_stage
from tasks.stages import STAGES
from tasks.train.teacher import load_training_set, to_pixels
from tests.tasks.conftest import PERF, Killed, killed_after

CONFIG = TrainTeacher(
    autoencoder_steps=3, autoencoder_batch_size=2, steps=4, batch_size=2, warmup_steps=2, checkpoint_every_steps=2
)


def run(coco: Artifact, store: Store, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["teacher"], CONFIG, {"world": coco}, store, PERF, progress)


@pytest.fixture(scope="module")
def trained(coco: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(coco, LocalStore(tmp_path_factory.mktemp("trained")))


def test_a_teacher_is_a_pipeline_that_draws(trained: Artifact) -> None:
    model = open_pipeline(trained.folder("model"))
    assert model.parameterization == "diffusion" and model.latent_shape == (4, 8, 8)
    latent = model.sample(torch.zeros(1, 4, 8, 8), ["a red ring"], 1, 2.0, "dpmsolver++")
    assert model.decode(latent).shape == (1, 3, 32, 32)
    assert model.pipeline.vae.config.scaling_factor != 0.18215, "its latents' own deviation"


def test_it_says_how_good_its_autoencoder_is_on_pictures_that_it_never_saw(trained: Artifact) -> None:
    metrics = trained.manifest.metrics
    assert {*metrics} == {"autoencoder_parameters", "images", "autoencoder_psnr_db"}
    assert metrics["images"] == 20 and trained.manifest.seeds == {"teacher": 0}
    for name, steps in {"autoencoder_curve.parquet": 3, "curve.parquet": 4}.items():
        assert pq.read_table(trained.fetch(name))["step"].to_pylist() == [steps]


@pytest.mark.parametrize(("calls", "first"), [(2, 0), (3, 2), (6, 5)])
def test_stopped_in_either_network_and_repeated_gives_the_same_teacher_bitwise(
    calls: int, first: int, coco: Artifact, trained: Artifact, tmp_path: Path
) -> None:
    store, told = LocalStore(tmp_path / "stopped"), list[int]()
    with pytest.raises(Killed):
        run(coco, store, killed_after(calls))
    torch.manual_seed(calls)
    again = run(coco, store, lambda done, *_: told.append(done))
    assert again.digest == trained.digest
    # Killed before the checkpoint of the step it was told of.
    assert told[0] == first and told[-1] == 7


def test_a_lost_autoencoder_is_trained_again_alone(coco: Artifact, trained: Artifact) -> None:
    store, base, told = trained.store, trained.base, list[int]()
    for path in (MANIFEST, "units/autoencoder.json"):
        store.delete(f"{base}/{path}")
    again = run(coco, store, lambda done, *_: told.append(done))
    assert again.digest == trained.digest and told == [0, 1, 2, 3]


def test_pictures_and_their_captions_are_read_in_one_order(coco: Artifact) -> None:
    images, captions = load_training_set(coco.folder("coco"))
    assert images.shape == (20, 3, 32, 32) and images.dtype == torch.uint8
    assert [len(texts) for texts in captions] == [2] * 20
    pixels = to_pixels(images)
    assert pixels.min() >= -1 and pixels.max() <= 1
    assert ((pixels + 1) * 127.5).round().to(torch.uint8).equal(images)
