"""From the shards of a cell to its numbers: how each row of the metrics' table is reduced."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.judges.frechet import Moments, frechet_distance
from tasks.evaluate.metrics import METRICS, Metric


@dataclass(frozen=True)
class Reduced:
    """What the numbers of a cell are reduced from.

    ``shards`` hold its statistics, ``references`` the moments that a Frechet distance is taken to, ``measured`` what
    was measured once and kept with a unit.
    """

    shards: Sequence[Mapping[str, Tensor]]
    references: Mapping[str, Moments]
    measured: Mapping[str, float | int | str]

    @functools.cached_property
    def moments(self) -> Moments:
        """The moments of all shards together."""
        return moments_of(self.shards)

    def column(self, name: str) -> Tensor | None:
        """A statistic of all pictures, None when it was not kept."""
        return torch.cat([shard[name] for shard in self.shards]) if name in self.shards[0] else None


def numbers(reduced: Reduced) -> dict[str, float | None]:
    """Every metric of a cell by key; None is what does not apply."""
    return {metric.key: _REDUCTIONS[metric.reduced](reduced, metric) for metric in METRICS}


def moments_of(shards: Iterable[Mapping[str, Tensor]]) -> Moments:
    """The moments that shards hold, merged."""
    return functools.reduce(Moments.merge, map(Moments.from_tensors, shards))


def _mean(reduced: Reduced, metric: Metric) -> float | None:
    column = reduced.column(metric.of)
    return None if column is None else float(column.mean())


def _ratio(reduced: Reduced, metric: Metric) -> float | None:
    column = reduced.column(metric.of)
    if column is None:
        return None
    above, below = column.sum(0).tolist()
    return float(above / below) if below else None


def _frechet(reduced: Reduced, metric: Metric) -> float | None:
    return frechet_distance(reduced.moments, reduced.references[metric.of])


def _measured(reduced: Reduced, metric: Metric) -> float | None:
    value = reduced.measured.get(metric.key)
    return None if value is None else float(value)


_REDUCTIONS: dict[str, Callable[[Reduced, Metric], float | None]] = {
    "mean": _mean,
    "ratio": _ratio,
    "frechet": _frechet,
    "measured": _measured,
}
