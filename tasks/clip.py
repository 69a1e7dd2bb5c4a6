"""Stage `clip`: train the miniature CLIP and the attribute reader on the captioned pictures."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infra.artifact import Draft, Source
from infra.recipe import Performance, TrainClip
from models.clip import cosine, load_clip
from models.mini.clip import build_clip, clip_loss, save_clip
from models.mini.reader import AttributeReader, load_reader, read_attributes, reader_loss, save_reader
from models.mini.scene import ATTRIBUTES
from models.mini.tokenizer import Merges, learn_merges, open_clip_tokenizer, write_open_clip_merges
from tasks.coco import read_captions, read_image
from tasks.curves import write_curve
from tasks.fit import CurvePoint, FitPlan, fit
from tasks.order import batch_ids, derive_seed, generator
from tasks.progress import Progress, part
from tasks.stage import StageResult
from tasks.teacher import SPLIT, load_training_set, to_pixels

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""open_clip's default normalisation, which its own transform applies when the model is loaded."""

GRAINY_SHARE, GRAIN = 0.5, 0.08
"""The reader sees half of its pictures with a little noise, so that imperfect generations do not confuse it."""


def train_clip(
    config: TrainClip, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit the tree ``clip``: an open_clip configuration, its weights, its vocabulary, and the attribute reader."""
    coco = inputs["world"].folder("coco")
    if "clip" not in out.units():
        started, folder = time.monotonic(), out.workdir / "clip"
        images, captions = load_training_set(coco)
        merges = learn_merges(text for texts in captions for text in texts)
        data, total = inputs["world"].digest, config.steps + config.reader_steps
        clip_curve = _clip(config, data, images, captions, merges, out, folder, part(progress, 0, total))
        reader_curve = _reader(config, data, images, coco, out, folder, part(progress, config.steps, total))
        blobs = {
            "clip": folder,
            "clip_curve.parquet": write_curve(out.workdir / "clip_curve.parquet", [clip_curve]),
            "reader_curve.parquet": write_curve(out.workdir / "reader_curve.parquet", [reader_curve]),
        }
        out.commit_unit("clip", blobs, rows=config.steps, seconds=time.monotonic() - started)
    return StageResult(metrics=_held_out(out.folder("clip"), coco), seeds={"clip": config.seed})


def _clip(
    config: TrainClip,
    data: str,
    images: Tensor,
    captions: list[list[str]],
    merges: Merges,
    out: Draft,
    folder: Path,
    progress: Progress,
) -> list[CurvePoint]:
    seed = derive_seed(config.seed, "clip")
    torch.manual_seed(seed)
    vocabulary = out.workdir / "merges.txt.gz"
    write_open_clip_merges(merges, vocabulary)
    tokenizer = open_clip_tokenizer(vocabulary)
    tokens = torch.stack([tokenizer(texts) for texts in captions])
    clip, mean, std = build_clip(tokenizer.vocab_size), torch.tensor(MEAN), torch.tensor(STD)

    def loss(step: int) -> Tensor:
        ids, rng = batch_ids(seed, step, config.batch_size, len(images)), generator(seed, step)
        chosen = torch.randint(tokens.shape[1], (len(ids),), generator=rng)
        pixels = (images[ids] / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        return clip_loss(clip, pixels, tokens[ids, chosen])

    plan = _plan(config, data, config.steps, config.learning_rate, seed)
    curve = fit(clip, loss, plan, out, "clip", progress)
    save_clip(clip, merges, folder)
    return curve


def _reader(
    config: TrainClip, data: str, images: Tensor, coco: Path, out: Draft, folder: Path, progress: Progress
) -> list[CurvePoint]:
    seed = derive_seed(config.seed, "reader")
    torch.manual_seed(seed)
    reader, labels = AttributeReader(), _labels(coco, SPLIT)

    def loss(step: int) -> Tensor:
        ids, rng = batch_ids(seed, step, config.reader_batch_size, len(images)), generator(seed, step)
        grain = GRAIN * (torch.rand(len(ids), 1, 1, 1, generator=rng) < GRAINY_SHARE)
        pixels = to_pixels(images[ids])
        pixels = pixels + grain * torch.randn(pixels.shape, generator=rng)
        return reader_loss(reader, pixels, {name: column[ids] for name, column in labels.items()})

    plan = _plan(config, data, config.reader_steps, config.reader_learning_rate, seed)
    curve = fit(reader, loss, plan, out, "reader", progress)
    save_reader(reader, folder)
    return curve


def _plan(config: TrainClip, data: str, steps: int, learning_rate: float, seed: int) -> FitPlan:
    return FitPlan(
        data=data,
        steps=steps,
        learning_rate=learning_rate,
        warmup_steps=min(100, steps),
        ema_decay=0.999,
        gradient_clip=1.0,
        checkpoint_every_steps=config.checkpoint_every_steps,
        checkpoint_every_minutes=config.checkpoint_every_minutes,
        decay="cosine",
        seed=seed,
    )


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
