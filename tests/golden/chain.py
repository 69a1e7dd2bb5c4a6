"""The fingerprints of a recipe's chain without running it: the digest of what a stage would make is made up."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from flows.recipes import chain_of, load_recipe
from flows.run import sources
from infra.artifact import Source
from infra.recipe import Section
from tasks.stage import stage_fingerprint
from tasks.stages import stage_of

WEIGHT_FILES = (
    "data/coco2014/annotations/captions_val2014.json",
    "data/coco2017/annotations/captions_val2017.json",
    "data/prompts.txt",
    "weights/stable-diffusion-v1-4/model_index.json",
    "weights/stable-diffusion-v1-5/model_index.json",
    "weights/stable-diffusion-2-1/model_index.json",
    "weights/stable-diffusion-xl-base-1.0/model_index.json",
    "weights/vgg16.pth",
    "weights/inception-v3.pth",
    "weights/clip-vit-g-14.bin",
)


@dataclass(frozen=True)
class Imagined:
    """Stands for an artifact: its digest is a function of its stage's id and fingerprint."""

    uri: str
    digest: str

    def folder(self, name: str = "") -> Path:
        raise AssertionError(f"{self.uri} was never made")

    def digest_of(self, tree: str, names: Collection[str]) -> str:
        """Of files of it: a function of its digest and their names."""
        return hashlib.sha256(f"{self.digest}/{tree}/{sorted(names)}".encode()).hexdigest()


@dataclass
class Identities:
    """The algorithm's `Do` that notes the fingerprint of each stage by id."""

    found: dict[str, str] = field(default_factory=dict)

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source:
        stage = stage_of(stage_id)
        taken = {role: source for role, source in inputs.items() if source is not None}
        identity = stage_fingerprint(stage, config, taken)
        self.found[stage_id] = identity
        return Imagined(f"{stage.name}/{identity}", hashlib.sha256(f"{stage_id}/{identity}".encode()).hexdigest())


def identities(recipe: str, *overrides: str) -> dict[str, str]:
    """The fingerprint of every stage of a bundled recipe, by stage id."""
    do = Identities()
    chain_of(load_recipe(recipe, overrides).seeded()).replay(do)
    return do.found


def place_weights(folder: Path) -> None:
    """Small files where the bundled recipes expect weights and data."""
    for name in WEIGHT_FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
