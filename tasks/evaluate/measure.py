"""Measuring one cell of the evaluation's table: one model at one number of solver steps."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.judges.frechet import Moments
from models.losses import squared
from models.pipelines.text_to_image import TextToImage
from tasks.evaluate.cells import Cell
from tasks.evaluate.statistics import STATISTICS, Judges, Seen
from tasks.order import derive_seed
from tasks.sections import Performance

CONTACT_PICTURES = 16
LATENCY_RUNS = 5


@dataclass
class Sampled:
    """What a cell's samples say: moments of the features, statistics by name [N, ...], latents, first pictures.

    Latents [N, C, H, W] are in fp16, as they are kept.
    """

    moments: Moments = field(default_factory=Moments)
    statistics: dict[str, list[Tensor]] = field(default_factory=dict)
    latent_batches: list[Tensor] = field(default_factory=list)
    first: list[Tensor] = field(default_factory=list)

    def add(self, judges: Judges, pictures: Tensor, latent: Tensor, prompts: Sequence[str]) -> None:
        """Take a batch in, as the judges see it."""
        features, image = judges.look(pictures)
        self.moments.update(features)
        seen = Seen(judges, pictures, prompts, image)
        for name, statistic in STATISTICS.items():
            if (values := statistic(seen)) is not None:
                self.statistics.setdefault(name, []).append(values)
        self.latent_batches.append(latent.half())
        self.first += list(pictures[: max(0, CONTACT_PICTURES - len(self.first))])

    @property
    def latents(self) -> Tensor:
        """All latents, fp16."""
        return torch.cat(self.latent_batches)

    @property
    def contact(self) -> Tensor:
        """The first pictures."""
        return torch.stack(self.first)

    def to_tensors(self, own_teacher: Tensor | None) -> dict[str, Tensor]:
        """The statistics of a shard; ``own_teacher`` are the latents to compare with."""
        found = {**self.moments.to_tensors(), **{name: torch.cat(one) for name, one in self.statistics.items()}}
        if own_teacher is not None:
            found["distances"] = squared(self.latents.float() - own_teacher.float())
        return found


def seeds_of(seed: int, indices: range) -> list[int]:
    """One seed per evaluation sample: the same noise for every model."""
    return [derive_seed(seed, "evaluate", index) for index in indices]


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
