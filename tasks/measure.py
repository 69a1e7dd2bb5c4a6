"""Measuring one cell of the evaluation's table: one model at one number of solver steps."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.recipe import Performance
from models.clip import Clip, cosine
from models.losses import squared
from models.metrics import Features, Moments
from models.mini.reader import AttributeReader, attribute_accuracy, read_attributes
from models.text_to_image import TextToImage
from tasks.order import derive_seed, sample_noise

CONTACT_PICTURES = 16
LATENCY_RUNS = 5


@dataclass(frozen=True)
class Cell:
    """A model (``teacher``, ``2-rf``, ``student``, ``direct``) with the way it is sampled."""

    model: str
    steps: int
    guidance: float
    solver: str

    @property
    def name(self) -> str:
        """E.g. ``2-rf-4``; also the unit's id."""
        return f"{self.model}-{self.steps}"


@dataclass(frozen=True)
class Judges:
    """The frozen networks that look at pictures; ``reader`` knows the miniature world only.

    ``features`` is what the Frechet distance sees, None for the CLIP's own image features.
    """

    features: Features | None
    clip: Clip
    prompt_prefix: str
    reader: AttributeReader | None

    def look(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The Frechet distance's features and the CLIP's image features of uint8 pictures, [B, D] each."""
        image = self.clip.image_features(pictures)
        return (self.features(pictures) if self.features else image), image


@dataclass
class Sampled:
    """What a cell's samples add up to: moments of the features, scores per picture, latents [N, C, H, W] in fp16."""

    moments: Moments
    clip_scores: list[float]
    shown: list[dict[str, str]]
    latents: Tensor
    contact: Tensor


def seeds_of(seed: int, indices: range) -> list[int]:
    """One seed per evaluation sample: the same noise for every model."""
    return [derive_seed(seed, "evaluate", index) for index in indices]


def sample(
    model: TextToImage,
    cell: Cell,
    prompts: Sequence[str],
    seeds: list[int],
    judges: Judges,
    batch_size: int,
    done: Callable[[int], None],
) -> Sampled:
    """Sample all prompts with the cell's solver and let the judges look at the pictures."""
    moments, scores, shown, latents, contact = Moments(), [], [], [], []  # type: ignore[var-annotated]
    for start in range(0, len(prompts), batch_size):
        texts = list(prompts[start : start + batch_size])
        noise = sample_noise(seeds[start : start + batch_size], model.latent_shape)
        latent = model.sample(noise, texts, cell.steps, cell.guidance, cell.solver)
        pictures = model.decode(latent)
        features, image = judges.look(pictures)
        moments.update(features)
        captions = judges.clip.text_features([judges.prompt_prefix + text for text in texts])
        scores += cosine(image, captions).tolist()
        shown += read_attributes(judges.reader, pictures) if judges.reader else []
        latents.append(latent.half())
        contact += list(pictures[: max(0, CONTACT_PICTURES - len(contact))])
        done(len(texts))
    return Sampled(moments, scores, shown, torch.cat(latents), torch.stack(contact))


def scores(sampled: Sampled, prompts: Sequence[str], own_teacher: Tensor | None) -> dict[str, float]:
    """The cell's numbers that depend on the pictures alone; those that do not apply are left out."""
    found = {"clip_score": statistics.fmean(sampled.clip_scores)}
    if sampled.shown:
        found["attribute_accuracy"] = attribute_accuracy(sampled.shown, prompts)
    if own_teacher is not None:
        found["distance_to_own_teacher"] = float(squared(sampled.latents.float() - own_teacher.float()).mean())
    return found


def speed(model: TextToImage, cell: Cell, prompts: Sequence[str], perf: Performance) -> dict[str, float]:
    """Seconds per picture at batch 1 (median), pictures per second at the best batch: prompt in, uint8 picture out."""
    latencies = [_seconds(model, cell, prompts[:1]) for _ in range(LATENCY_RUNS + 1)][1:]
    rates = [size / _seconds(model, cell, batch) for size, batch in _batches(prompts, perf.throughput_batch_sizes)]
    return {"seconds_per_image": statistics.median(latencies), "images_per_second": max(rates)}


def _batches(prompts: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[int, list[str]]]:
    for size in sizes:
        yield size, [prompts[i % len(prompts)] for i in range(size)]


def _seconds(model: TextToImage, cell: Cell, prompts: Sequence[str]) -> float:
    noise = torch.randn(len(prompts), *model.latent_shape)
    started = time.perf_counter()
    model.decode(model.sample(noise, prompts, cell.steps, cell.guidance, cell.solver))
    return time.perf_counter() - started
