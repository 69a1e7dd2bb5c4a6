"""Measuring one cell of the evaluation's table: one model at one number of solver steps."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from infra.recipe import Performance
from models.clip import Clip, cosine
from models.losses import squared
from models.metrics import Features, Moments
from models.mini.reader import AttributeReader, attribute_hits, read_attributes
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
        """E.g. ``2-rf-4``; the ids of its units begin with it."""
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
    """What a cell's samples say: moments of the features, scores [N], attribute hits [N, 2], latents, first pictures.

    Latents [N, C, H, W] are in fp16, as they are kept.
    """

    moments: Moments
    clip_scores: Tensor
    hits: Tensor | None
    latents: Tensor
    contact: Tensor

    def to_tensors(self, own_teacher: Tensor | None) -> dict[str, Tensor]:
        """The statistics of a shard, for :func:`means`; ``own_teacher`` are the latents to compare with."""
        found = {**self.moments.to_tensors(), "clip_scores": self.clip_scores}
        if self.hits is not None:
            found["hits"] = self.hits
        if own_teacher is not None:
            found["distances"] = squared(self.latents.float() - own_teacher.float())
        return found


def means(shards: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """The numbers of a cell from the statistics of its shards; those that do not apply are left out."""
    found = {"clip_score": float(_all(shards, "clip_scores").mean())}
    if "hits" in shards[0]:
        right, told = _all(shards, "hits").sum(0).tolist()
        found["attribute_accuracy"] = right / told
    if "distances" in shards[0]:
        found["distance_to_own_teacher"] = float(_all(shards, "distances").mean())
    return found


def _all(shards: Sequence[Mapping[str, Tensor]], name: str) -> Tensor:
    return torch.cat([shard[name] for shard in shards])


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
    moments, scores, hits, latents, contact = Moments(), [], [], [], []  # type: ignore[var-annotated]
    for start in range(0, len(prompts), batch_size):
        texts = list(prompts[start : start + batch_size])
        noise = sample_noise(seeds[start : start + batch_size], model.latent_shape)
        latent = model.sample(noise, texts, cell.steps, cell.guidance, cell.solver)
        pictures = model.decode(latent)
        features, image = judges.look(pictures)
        moments.update(features)
        captions = judges.clip.text_features([judges.prompt_prefix + text for text in texts])
        scores.append(cosine(image, captions).double().cpu())
        if judges.reader:
            hits.append(attribute_hits(read_attributes(judges.reader, pictures), texts))
        latents.append(latent.half())
        contact += list(pictures[: max(0, CONTACT_PICTURES - len(contact))])
        done(len(texts))
    return Sampled(
        moments, torch.cat(scores), torch.cat(hits) if hits else None, torch.cat(latents), torch.stack(contact)
    )


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
