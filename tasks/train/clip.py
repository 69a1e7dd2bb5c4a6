"""Stage `clip`: train the miniature CLIP and the attribute reader on the captioned pictures."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.clip import cosine, load_clip
from models.mini.clip import build_clip, clip_loss, save_clip
from models.mini.reader import AttributeReader, load_reader, read_attributes, reader_loss, save_reader
from models.mini.scene import ATTRIBUTES
from models.mini.tokenizer import Merges, learn_merges, open_clip_tokenizer, write_open_clip_merges
from tasks.data.coco import read_captions
from tasks.data.picture_batches import read_image
from tasks.order import batch_ids, derive_seed, generator
from tasks.sections import TrainClip
from tasks.stage import StageResult, StageWork, Units, Work
from tasks.stages import Group, Phase
from tasks.train.curves import write_curve
from tasks.train.fit import At, CurvePoint, FitPlan, fit
from tasks.train.teacher import SPLIT, load_training_set, to_pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""open_clip's default normalisation, which its own transform applies when the model is loaded."""

GRAINY_SHARE, GRAIN = 0.5, 0.08
"""The reader sees half of its pictures with a little noise, so that imperfect generations do not confuse it."""


class ClipTraining(StageWork[TrainClip]):
    """Commits the tree ``clip``: an open_clip configuration, its weights, its vocabulary, and the attribute reader."""

    def __init__(self, work: Work[TrainClip]) -> None:
        super().__init__(work)
        self.coco, self.data = self.inputs["world"].folder("coco"), self.inputs["world"].digest

    def make(self, group: Group) -> None:
        """Train the CLIP, then the reader."""
        started, folder = time.monotonic(), self.out.workdir / "clip"
        images, captions = load_training_set(self.coco)
        merges = learn_merges(text for texts in captions for text in texts)
        first, second = self.work.extent.phases
        curves = {
            "clip_curve.parquet": self._train_clip(first, images, captions, merges, folder),
            "reader_curve.parquet": self._train_reader(second, images, folder),
        }
        written = {name: write_curve(self.out.workdir / name, [curve]) for name, curve in curves.items()}
        blobs = {"clip": folder, **written}
        self.out.commit_unit("clip", blobs, rows=self.config.steps, seconds=time.monotonic() - started)

    def finish(self, units: Units) -> StageResult:
        """How good both are on pictures they never saw."""
        return StageResult(metrics=_held_out(self.out.folder("clip"), self.coco), seeds={"clip": self.config.seed})

    def _train_clip(
        self, phase: Phase, images: Tensor, captions: list[list[str]], merges: Merges, folder: Path
    ) -> list[CurvePoint]:
        seed = derive_seed(self.config.seed, "clip")
        torch.manual_seed(seed)
        vocabulary = self.out.workdir / "merges.txt.gz"
        write_open_clip_merges(merges, vocabulary)
        tokenizer = open_clip_tokenizer(vocabulary)
        tokens = torch.stack([tokenizer(texts) for texts in captions])
        clip, mean, std = build_clip(tokenizer.vocab_size), torch.tensor(MEAN), torch.tensor(STD)

        def loss(at: At) -> Tensor:
            ids, rng = batch_ids(seed, at.step, phase.batch_size, len(images)), generator(seed, at.step)
            chosen = torch.randint(tokens.shape[1], (len(ids),), generator=rng)
            pixels = (images[ids] / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
            return clip_loss(clip, pixels, tokens[ids, chosen])

        curve = fit(clip, loss, self._plan(phase, self.config.learning_rate, seed), self.work)
        save_clip(clip, merges, folder)
        return curve

    def _train_reader(self, phase: Phase, images: Tensor, folder: Path) -> list[CurvePoint]:
        seed = derive_seed(self.config.seed, "reader")
        torch.manual_seed(seed)
        reader, labels = AttributeReader(), _labels(self.coco, SPLIT)

        def loss(at: At) -> Tensor:
            ids, rng = batch_ids(seed, at.step, phase.batch_size, len(images)), generator(seed, at.step)
            grain = GRAIN * (torch.rand(len(ids), 1, 1, 1, generator=rng) < GRAINY_SHARE)
            pixels = to_pixels(images[ids])
            pixels = pixels + grain * torch.randn(pixels.shape, generator=rng)
            return reader_loss(reader, pixels, {name: column[ids] for name, column in labels.items()})

        curve = fit(reader, loss, self._plan(phase, self.config.reader_learning_rate, seed), self.work)
        save_reader(reader, folder)
        return curve

    def _plan(self, phase: Phase, learning_rate: float, seed: int) -> FitPlan:
        return FitPlan.of_own(self.config, phase, self.data, learning_rate, seed, min(100, phase.steps))


def _scenes(coco: Path, split: str) -> list[dict[str, str]]:
    content: dict[str, dict[str, str]] = json.loads((coco / "annotations" / f"scenes_{split}.json").read_text())
    return [content[image_id] for image_id in sorted(content, key=int)]


def _labels(coco: Path, split: str) -> dict[str, Tensor]:
    scenes = _scenes(coco, split)
    return {name: torch.tensor([values.index(scene[name]) for scene in scenes]) for name, values in ATTRIBUTES.items()}


def _held_out(folder: Path, coco: Path) -> dict[str, Any]:
    """On pictures of unseen combinations: the reader's accuracy, the CLIP score of right and shuffled captions."""
    clip, captions = (
        load_clip(str(folder), None),
        read_captions(coco / "annotations" / "captions_val2017.json")[:1000],
    )
    images = torch.stack([read_image(coco / "val2017" / caption.file_name) for caption in captions])
    shown, scenes = read_attributes(load_reader(folder), images), _scenes(coco, "val2017")[: len(images)]
    accuracy = {
        f"reader_accuracy_{name}": sum(a[name] == b[name] for a, b in zip(shown, scenes, strict=True)) / len(images)
        for name in ATTRIBUTES
    }
    image, text = clip.image_features(images), clip.text_features([caption.text for caption in captions])
    scores = {
        "clip_score_right": float(cosine(image, text).mean()),
        "clip_score_shuffled": float(cosine(image, text.roll(1, 0)).mean()),
    }
    return {**accuracy, **scores}
