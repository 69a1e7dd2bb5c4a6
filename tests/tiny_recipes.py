"""Tiny copies of the bundled recipes: fields as they are, but for paths and sizes; files in the official formats.

The networks are of the real classes with random weights. What a copy may change is named here, and the test asserts
that nothing else is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from flows.recipes import chain_of, load_recipe, parse_recipe
from flows.run import sources
from infra.artifact import Artifact, Source
from infra.recipe import Section
from infra.store import Store
from infra.store.local import LocalStore
from tasks.progress import silent
from tasks.sections import Performance, Recipe, World
from tasks.stage import run_stage
from tasks.stages import STAGES, stage_of
from tests.models import untrained
from tests.models.pipelines import repositories
from tests.models.pipelines import tiny as families

SIZES: dict[str, Any] = {
    "reflow_count": 8,
    "distill_count": 8,
    "shard_size": 6,
    "batch_size": 4,
    "warmup_steps": 1,
    "checkpoint_every_steps": 2,
    "num_images": 4,
    "teacher_steps": 1,
    "straightness_images": 2,
    "sample_batch_size": 4,
    "micro_batch_size": 3,
    "throughput_batch_sizes": [1],
    "max_abs_latent": 1e9,  # of a teacher that was never trained
}
"""By the last part of a field's name."""

STEPS = 2
"""Of solvers and trainings; an evaluation takes one of them."""

PATHS = {
    "teacher.path": "teacher",
    "coco.path": "coco",
    "prompts.path": "prompts.txt",
    "trunk_weights": "vgg16.pth",
    "inception_weights": "inception.pth",
    "clip.architecture": "clip",
    "clip.weights": "clip/open_clip_model.safetensors",
}
"""The stand-ins by the end of a field's name."""

TEACHERS: dict[str, Callable[[Path], Path]] = {
    "sd21": repositories.stable_diffusion_2,
    "sdxl": families.stable_diffusion_xl,
}
"""Of recipes for another family; the others take Stable Diffusion 1.x."""


class _Random(FeatureExtractorInceptionV3):  # type: ignore[misc] # torch-fidelity is not typed
    def load_state_dict(self, *_: object, **__: object) -> None: ...


def stand_ins(folder: Path) -> Path:
    """Everything that the recipes name, in a folder; gives it back."""
    torch.manual_seed(0)
    untrained.teacher_folder(folder / "teacher")
    for name, write in TEACHERS.items():
        write(folder / f"teacher-{name}")
    untrained.clip_folder(folder / "clip")
    config, store = World(val_images=8, captions_per_image=2), LocalStore(folder / "world")
    world = run_stage(STAGES["world"], config, {}, store, Performance(), silent)
    (folder / "coco").symlink_to(world.folder("coco"))
    lines = [f"{text} number {number}" for number, text in enumerate(untrained.captions(30, seed=5))]
    (folder / "prompts.txt").write_text("\n".join(lines) + "\n")
    trunk = torchvision.models.vgg16(weights=None).features.state_dict()
    torch.save({f"features.{name}": value for name, value in trunk.items()}, folder / "vgg16.pth")
    torch.save({}, folder / "none.pth")
    network = _Random("random", ["2048"], feature_extractor_weights_path=str(folder / "none.pth"))
    torch.save(network.state_dict(), folder / "inception.pth")
    return folder


def tiny(name: str, folder: Path) -> Recipe:
    """A copy of the bundled recipe over the stand-ins in `folder`."""
    data = _small(load_recipe(name).model_dump(mode="json"), "", folder)
    if name in TEACHERS:
        data["teacher"]["path"] += f"-{name}"
    return parse_recipe(data, f"tiny {name}")


def changed(key: str) -> bool:
    """Whether a copy may have another value than the recipe: `key` is the dotted name of a field of it."""
    last = key.rpartition(".")[2]
    return last in SIZES or last == "steps" or any(key.endswith(path) for path in PATHS)


def _small(value: Any, key: str, folder: Path) -> Any:
    if isinstance(value, dict):
        return {name: _small(item, f"{key}.{name}".strip("."), folder) for name, item in value.items()}
    last = key.rpartition(".")[2]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [_small(item, key, folder) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if last == "steps":
        return [1] if isinstance(value, list) else STEPS
    stand_in = next((file for path, file in PATHS.items() if key.endswith(path)), None)
    return str(folder / stand_in) if stand_in else SIZES.get(last, value)


@dataclass
class InProcess:
    """A `Do` that runs each stage in this process."""

    store: Store
    performance: Performance
    made: dict[str, Artifact] = field(default_factory=dict)

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source:
        taken = {role: one for role, one in inputs.items() if one is not None}
        self.made[stage_id] = run_stage(stage_of(stage_id), config, taken, self.store, self.performance, silent)
        return self.made[stage_id]


def run(recipe: Recipe, store: Store) -> dict[str, Artifact]:
    """The recipe's whole chain; what each stage made, by its id."""
    do = InProcess(store, recipe.performance)
    chain_of(recipe.seeded()).replay(do)
    return do.made
