"""Measuring a shard of one cell of the evaluation's table: one model at one number of solver steps."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.losses import squared
from tasks.evaluate.statistics import STATISTICS, Seen
from tasks.order import derive_seed

CONTACT_PICTURES = 16


@dataclass
class Sampled:
    """What a cell's samples say: statistics by name [N, ...], latents, first pictures.

    Latents [N, C, H, W] are in fp16, as they are kept.
    """

    statistics: dict[str, list[Tensor]] = field(default_factory=dict)
    latent_batches: list[Tensor] = field(default_factory=list)
    first: list[Tensor] = field(default_factory=list)

    def add(self, seen: Seen, latent: Tensor | None) -> None:
        """Take a batch in, as the judges see it; pictures that were drawn elsewhere have no latent."""
        for name, statistic in STATISTICS.items():
            if (values := statistic(seen)) is not None:
                self.statistics.setdefault(name, []).append(values)
        self.latent_batches += [] if latent is None else [latent.half()]
        self.first += list(seen.pictures[: max(0, CONTACT_PICTURES - len(self.first))])

    @property
    def latents(self) -> Tensor:
        """All latents, fp16."""
        return torch.cat(self.latent_batches)

    @property
    def contact(self) -> Tensor:
        """The first pictures."""
        return torch.stack(self.first)

    def to_tensors(self, teachers: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The statistics of a shard; ``teachers`` are the latents to compare with, by the name of the distance."""
        found = {name: torch.cat(batches) for name, batches in self.statistics.items()}
        for name, latents in teachers.items():
            found[name] = squared(self.latents.float() - latents.float())
        return found


def seeds_of(seed: int, indices: range) -> list[int]:
    """One seed per evaluation sample: the same noise for every model."""
    return [derive_seed(seed, "evaluate", index) for index in indices]
