"""From what is kept of a cell's pictures to its numbers: how each row of the metrics' table is reduced."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from models.judges.frechet import Gaussian
from models.judges.pixels import accelerator
from tasks.evaluate.bootstrap import FEW_REPLICATES, REPLICATES, WIDE, half_width, resamples
from tasks.evaluate.metrics import METRICS, Metric


class Number(NamedTuple):
    """A value and half the width of its 95 % interval, None where nothing can be said of that."""

    value: float
    interval: float | None


class Pictures:
    """A set of pictures as features [N, D], and the normal distribution of each of its bootstrap replicates."""

    def __init__(self, features: Tensor, side: str = "pictures") -> None:
        self.features, self.side = features.double().to(accelerator()), side

    @functools.cached_property
    def gaussian(self) -> Gaussian:
        """Of all pictures, each counted once."""
        return self._counted(torch.ones(len(self.features), dtype=torch.float64))

    def replicate(self, number: int) -> Gaussian:
        """Of the pictures as often as the replicate has them."""
        return self._counted(resamples(len(self.features), self.side)[number])

    @functools.cached_property
    def replicates(self) -> list[Gaussian]:
        """All of them, for what every cell is compared with."""
        return [self.replicate(number) for number in range(self.count)]

    @property
    def count(self) -> int:
        """How many replicates features of so many dimensions have."""
        return FEW_REPLICATES if self.features.shape[1] > WIDE else REPLICATES

    def _counted(self, times: Tensor) -> Gaussian:
        return Gaussian.of(self.features, times)


@dataclass(frozen=True)
class Reduced:
    """What the numbers of a cell are reduced from.

    ``columns`` are its statistics by name, over all pictures [N, ...]; ``compared`` has the two sets of pictures of a
    Frechet distance, by the name of the second.
    """

    columns: Mapping[str, Tensor]
    compared: Mapping[str, tuple[Pictures, Pictures]] = field(default_factory=dict)


def numbers(reduced: Reduced) -> dict[str, float | None]:
    """Every metric of a cell and its interval, by key; None is what does not apply."""
    found: dict[str, float | None] = {}
    for metric in METRICS:
        number = _REDUCTIONS[metric.reduced](reduced, metric)
        found[metric.key], found[metric.interval_key] = number or (None, None)
    return found


def _of_column(reduce: Callable[[Tensor, Tensor], float]) -> Callable[[Reduced, Metric], Number | None]:
    """The reduction of a statistic by a function of its values [N, ...] and of how often each counts [N]."""

    def number(reduced: Reduced, metric: Metric) -> Number | None:
        values = reduced.columns.get(metric.of)
        if values is None or not len(values):
            return None
        values = values.double()
        value = reduce(values, torch.ones(len(values), dtype=torch.float64))
        if value != value:  # nothing to divide by: it does not apply
            return None
        again = [reduce(values, times) for times in resamples(len(values))] if len(values) > 1 else []
        return Number(value, half_width(again) if again and all(one == one for one in again) else None)

    return number


def _mean(values: Tensor, times: Tensor) -> float:
    return float(values @ times / times.sum())


def _ratio(values: Tensor, times: Tensor) -> float:
    above, below = (times @ values).tolist()
    return float(above / below) if below else float("nan")


def _median(values: Tensor, times: Tensor) -> float:
    """The value in the middle; of an even number the mean of the two."""
    order = values.argsort()
    seen = times[order].cumsum(0)
    lower, upper = (int(torch.searchsorted(seen, seen[-1] / 2, right=right)) for right in (False, True))
    return float(values[order[[lower, upper]]].mean())


def _frechet(reduced: Reduced, metric: Metric) -> Number | None:
    if metric.of not in reduced.compared:
        return None
    ours, theirs = reduced.compared[metric.of]
    value = ours.gaussian.frechet_distance(theirs.gaussian)
    again = [ours.replicate(number).frechet_distance(theirs.replicates[number]) for number in range(ours.count)]
    return Number(value, half_width(again))


_REDUCTIONS: dict[str, Callable[[Reduced, Metric], Number | None]] = {
    "mean": _of_column(_mean),
    "median": _of_column(_median),
    "ratio": _of_column(_ratio),
    "frechet": _frechet,
}
