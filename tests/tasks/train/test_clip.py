"""Training the small CLIP and the attribute reader: resumed bitwise, judged on pictures that they never saw."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from infra.artifact import MANIFEST, Artifact
from infra.store import Store
from infra.store.local import LocalStore
from models.clip import load_clip
from models.mini.reader import load_reader, read_attributes
from models.mini.scene import ATTRIBUTES
from tasks.progress import Progress, silent
from tasks.sections import TrainClip
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PERF, Killed, killed_after

CONFIG = TrainClip(
    vision="resnet", steps=4, batch_size=4, reader_steps=3, reader_batch_size=4, checkpoint_every_steps=2
)


def run(coco: Artifact, store: Store, progress: Progress = silent, config: TrainClip = CONFIG) -> Artifact:
    return run_stage(STAGES["clip"], config, {"world": coco}, store, PERF, progress)


@pytest.fixture(scope="module")
def trained(coco: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return run(coco, LocalStore(tmp_path_factory.mktemp("trained")))


def test_clip_and_reader_lie_in_one_folder(trained: Artifact) -> None:
    folder, pictures = trained.folder("clip"), torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    clip = load_clip(str(folder), None)
    assert clip.image_features(pictures).shape == clip.text_features(["a red ring", "a"]).shape
    assert all({*shown} == {*ATTRIBUTES} for shown in read_attributes(load_reader(folder), pictures))


def test_a_clip_to_train_with_has_no_reader(coco: Artifact, tmp_path: Path) -> None:
    alone = run(coco, LocalStore(tmp_path), config=TrainClip(steps=1, batch_size=4, reader_steps=0))
    assert {*alone.manifest.metrics} == {"clip_score_right", "clip_score_shuffled"}
    assert "reader.safetensors" not in {file.name for file in alone.folder("clip").iterdir()}
    assert not alone.files("reader_curve.parquet")


def test_it_says_how_good_both_are_on_pictures_that_they_never_saw(trained: Artifact) -> None:
    metrics = trained.manifest.metrics
    accuracies = {f"reader_accuracy_{name}" for name in ATTRIBUTES}
    assert {*metrics} == accuracies | {"clip_score_right", "clip_score_shuffled"}
    assert all(0 <= float(str(metrics[name])) <= 1 for name in accuracies)
    for name, steps in {"clip_curve.parquet": 4, "reader_curve.parquet": 3}.items():
        assert pq.read_table(trained.fetch(name))["step"].to_pylist() == [steps]


@pytest.mark.parametrize(("calls", "first"), [(3, 2), (6, 4)])
def test_stopped_in_either_network_and_repeated_gives_the_same_bitwise(
    calls: int, first: int, coco: Artifact, trained: Artifact, tmp_path: Path
) -> None:
    store, told = LocalStore(tmp_path / "stopped"), list[tuple[int, int, str]]()
    with pytest.raises(Killed):
        run(coco, store, killed_after(calls))
    torch.manual_seed(calls)
    again = run(coco, store, lambda *at: told.append(at))
    assert again.digest == trained.digest
    # Killed before the checkpoint of the step it was told of.
    assert told[0] == (first, 7, "steps") and told[-1] == (7, 7, "steps")


def test_what_is_committed_is_only_judged_again(coco: Artifact, trained: Artifact) -> None:
    trained.store.delete(f"{trained.base}/{MANIFEST}")
    told: list[int] = []
    again = run(coco, trained.store, lambda done, *_: told.append(done))
    assert not told and again.digest == trained.digest
    assert again.manifest.metrics == trained.manifest.metrics
