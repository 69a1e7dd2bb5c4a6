"""The miniature world: both splits in the MS COCO layout, a function of its section alone."""

from __future__ import annotations

import json
from pathlib import Path

from infra.artifact import Artifact
from infra.store import Store
from infra.store.local import LocalStore
from models.mini.scene import is_held_out
from tasks.data.world import is_miniature
from tasks.progress import Progress, silent
from tasks.sections import World
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PERF

SMALL = World(train_images=3, val_images=2, captions_per_image=4)


def run(store: Store, config: World = SMALL, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["world"], config, {}, store, PERF, progress)


def test_both_splits_are_rendered_and_counted(store: Store) -> None:
    told: list[tuple[int, int, str]] = []
    made = run(store, progress=lambda *at: told.append(at))
    coco = made.folder("coco")
    for split, count in {"val2017": 2, "train2017": 3}.items():
        content = json.loads((coco / "annotations" / f"captions_{split}.json").read_text())
        names = {image["file_name"] for image in content["images"]}
        assert names == {path.name for path in (coco / split).iterdir()} and len(names) == count
        assert len(content["annotations"]) == 4 * count
    assert made.manifest.metrics == {"val2017": 2, "train2017": 3} and made.manifest.rows == 5
    assert made.manifest.seeds == {"world": SMALL.seed}
    assert told == [(count, 5, "images") for count in range(6)]


def test_without_training_pictures_there_is_no_training_split(store: Store) -> None:
    made = run(store, SMALL.model_copy(update={"train_images": 0}))
    assert not (made.folder("coco") / "train2017").exists()
    assert made.manifest.metrics == {"val2017": 2, "train2017": 0}


def test_the_splits_share_no_combination(store: Store) -> None:
    coco = run(store, World(train_images=20, val_images=20)).folder("coco")
    for split, held_out in {"val2017": True, "train2017": False}.items():
        scenes = json.loads((coco / "annotations" / f"scenes_{split}.json").read_text())
        assert {is_held_out(tuple(scene.values())) for scene in scenes.values()} == {held_out}


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    one, again, other = (
        run(LocalStore(tmp_path / str(number)), SMALL.model_copy(update={"seed": seed}))
        for number, seed in enumerate((1, 1, 2))
    )
    assert one.digest == again.digest != other.digest


def test_captions_of_another_data_set_are_not_taken_for_the_world_s(store: Store, tmp_path: Path) -> None:
    captions = run(store).folder("coco") / "annotations" / "captions_val2017.json"
    (tmp_path / "annotations").mkdir()
    for name in ("captions_val2017.json", "digits.json"):
        other = tmp_path / "annotations" / name
        other.write_bytes(captions.read_bytes())
        assert is_miniature(captions) and not is_miniature(other)
