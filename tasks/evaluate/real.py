"""Stage `real`: what the judges see in the real pictures and read in the captions, once for all evaluations."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from functools import cached_property

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from infra.artifact import Artifact, Source
from infra.errors import UserError
from models.resizing import Resize
from tasks.data.inputs import as_artifact
from tasks.data.load import load_model
from tasks.data.picture_batches import picture_batches
from tasks.evaluate.cells import captions_needed, real_shards
from tasks.evaluate.judges import load_judges
from tasks.evaluate.real_set import captions_of, real_names
from tasks.evaluate.statistics import Judges
from tasks.sections import EvaluateJob, RealJob
from tasks.stage import StageResult, StageWork, Units, Work, named_files
from tasks.stages import STAGES, Group, Unit

TEXTS = "texts"
"""The captions' features, beside the pictures' by the name of what they are for."""


class RealPictures(StageWork[RealJob]):
    """Commits a shard of pictures and captions at a time: their features, float32."""

    def __init__(self, work: Work[RealJob]) -> None:
        super().__init__(work)
        coco = self.inputs["coco"].folder("coco")
        annotations, images = coco / self.config.coco.annotations, coco / self.config.coco.images
        captions = captions_of(self.config, annotations)
        self.paths = [images / name for name in real_names(self.config, annotations, captions)]
        self.texts = [caption.text for caption in captions[: captions_needed(self.config)]]

    def make(self, group: Group) -> None:
        """Look at a shard."""
        for unit in group:
            self._commit(unit, int(unit.id.rpartition(".")[2]))

    def finish(self, units: Units) -> StageResult:
        """How many there are, and how large they were judged."""
        counts = {"pictures": len(self.paths), "captions": len(self.texts)}
        return StageResult(metrics={**counts, "size": self.resize.size})

    @cached_property
    def judges(self) -> Judges:
        """The networks, loaded when they are first needed."""
        return load_judges(self.config, self.inputs, miniature=False)

    @cached_property
    def resize(self) -> Resize:
        """How pictures come to the size that they are judged at. Raises UserError where nothing tells it."""
        told = self.config.pictures
        if told.size is None and "teacher" not in self.inputs:
            raise UserError("evaluate.pictures.size: null, and no input teacher whose size it would be; give either")
        return Resize(told.size or load_model(self.inputs["teacher"]).pixels_per_side, told.filter, told.antialias)

    def _commit(self, unit: Unit, number: int) -> None:
        started = time.monotonic()
        pictures, texts = (real_shards(self.config, len(all_))[number] for all_ in (self.paths, self.texts))
        tensors = self._seen(pictures) | {TEXTS: self._read(texts)}
        path, seconds = self.out.workdir / f"{unit.id}.safetensors", time.monotonic() - started
        save_file(tensors, path)
        self.out.commit_unit(unit.id, {path.name: path}, rows=len(pictures), seconds=seconds)
        self.work.advance(1 if self.config.real == "split" else 0)

    def _seen(self, pictures: range) -> dict[str, Tensor]:
        """Features of pictures, by what they are for."""
        found: dict[str, list[Tensor]] = {name: [] for name in self.judges.features}
        paths = self.paths[pictures.start : pictures.stop]
        for batch in picture_batches(paths, self.resize, self.work.performance.sample_batch_size):
            for name, features in self.judges.look(batch, *found).items():
                found[name].append(features)
            self.work.advance(0 if self.config.real == "split" else len(batch))
        return {name: torch.cat(batches) for name, batches in found.items()}

    def _read(self, captions: range) -> Tensor:
        """The CLIP's features of captions, float32 [N, E]."""
        size, texts = self.work.performance.sample_batch_size, self.texts[captions.start : captions.stop]
        batches = [self.judges.read(texts[start : start + size]) for start in range(0, len(texts), size)]
        return torch.cat(batches)


class Real:
    """What the stage left, as an evaluation reads it. Raises UserError for one that was made otherwise."""

    def __init__(self, inputs: Mapping[str, Source], config: EvaluateJob) -> None:
        self.artifact, self.config = as_artifact(inputs["real"]), config
        _require_made_for(self.artifact, inputs, config)
        told = self.artifact.manifest.metrics
        self.size, self.pictures = int(str(told["size"])), int(str(told["pictures"]))

    @cached_property
    def texts(self) -> Tensor:
        """Features of the captions in their order, float32 [N, E]."""
        return self._all(TEXTS)

    def own(self, name: str) -> Tensor:
        """Features, by what they are for, of the pictures that all are compared with, float32 [N, D]."""
        found = self._all(name)
        return found if self.config.real == "split" else found[: self.config.num_images]

    def others(self, name: str) -> Tensor:
        """Those of the pictures of the other captions."""
        return self._all(name)[self.config.num_images : 2 * self.config.num_images]

    def without_others(self, name: str) -> Tensor:
        """Those of a whole split but the others, which its floor compares with them."""
        found, count = self._all(name), self.config.num_images
        return torch.cat([found[:count], found[2 * count :]])

    def _all(self, name: str) -> Tensor:
        numbers = range(len(real_shards(self.config, self.pictures)))
        return torch.cat([self._tensor(f"real.{number:05d}.safetensors", name) for number in numbers])

    def _tensor(self, file: str, name: str) -> Tensor:
        with safe_open(self.artifact.fetch(file), "pt") as opened:
            found: Tensor = opened.get_tensor(name)
            return found


def _require_made_for(artifact: Artifact, inputs: Mapping[str, Source], config: EvaluateJob) -> None:
    """Raise UserError unless the same judges looked at the pictures of the same captions."""
    made = RealJob.model_validate_json(json.dumps(artifact.manifest.config)).identity()
    asked = RealJob.of(config, config.coco).identity()
    names = {name for name in made.keys() | asked.keys() if made.get(name) != asked.get(name)}
    known = {role: inputs[role].digest for role in ("coco", "judge") if role in inputs}
    known |= {name: file.digest for name, file in named_files(STAGES["evaluate"], config).items()}
    used = {record.role: record.digest for record in artifact.manifest.inputs}
    names |= {role for role, digest in known.items() if role in used and used[role] != digest}
    if names:
        raise UserError(
            f"evaluate: the input real ({artifact.uri}) was made with another {', '.join(sorted(names))}; do the stage"
            " real with what this evaluation is told"
        )
