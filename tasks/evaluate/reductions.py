"""From what is kept of a cell's pictures to its numbers: how each row of the metrics' table is reduced."""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from models.judges.cmmd import Embedded, discrepancy
from models.judges.frechet import Gaussian
from models.judges.kid import SUBSET_SIZE, kernel_distances
from models.judges.pixels import accelerator
from models.judges.precision_recall import NEIGHBOURS, covered, radii
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
        return Gaussian.of(self.features)

    @functools.cached_property
    def replicates(self) -> list[Gaussian]:
        """Of the pictures as often as each replicate has them."""
        drawn = resamples(len(self.features), self.side)[: self.count]
        return [Gaussian.of(self.features, times) for times in drawn]

    @functools.cached_property
    def radii(self) -> Tensor:
        """How far each picture's neighbourhood reaches, [N]."""
        return radii(self.features.float())

    @functools.cached_property
    def embedded(self) -> Embedded:
        """As CMMD takes them."""
        return Embedded(self.features)

    @property
    def count(self) -> int:
        """How many replicates features of so many dimensions have."""
        return FEW_REPLICATES if self.features.shape[1] > WIDE else REPLICATES


@dataclass(frozen=True)
class Reduced:
    """What the numbers of a cell are reduced from.

    ``columns`` are its statistics by name, over all pictures [N, ...]; ``compared`` has the two sets of pictures of
    each comparison by its name, the cell's own first.
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
        return None if values is None or not len(values) else _number(reduce, values.double())

    return number


def _number(reduce: Callable[[Tensor, Tensor], float], values: Tensor) -> Number | None:
    """A function of values [N, ...] and of how often each counts [N]; None where it does not apply."""
    value = reduce(values, torch.ones(len(values), dtype=torch.float64))
    if value != value:  # nothing to divide by: it does not apply
        return None
    again = [reduce(values, times) for times in resamples(len(values))] if len(values) > 1 else []
    return Number(value, half_width(again) if again and all(one == one for one in again) else None)


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


def _of_pair(reduce: Callable[[Pictures, Pictures], Number | None]) -> Callable[[Reduced, Metric], Number | None]:
    """The reduction of two sets of pictures, where they are compared."""
    return lambda reduced, metric: reduce(*reduced.compared[metric.of]) if metric.of in reduced.compared else None


def _frechet(ours: Pictures, theirs: Pictures) -> Number:
    value = ours.gaussian.frechet_distance(theirs.gaussian)
    again = [a.frechet_distance(b) for a, b in zip(ours.replicates, theirs.replicates, strict=True)]
    return Number(value, half_width(again))


def _kernel(ours: Pictures, theirs: Pictures) -> Number:
    """Without an interval: the spread of its subsets is not that of their mean."""
    size = min(SUBSET_SIZE, len(ours.features), len(theirs.features))
    return Number(float(kernel_distances(ours.features, theirs.features, subset_size=size).mean()), None)


def _discrepancy(ours: Pictures, theirs: Pictures) -> Number:
    """Without an interval: a picture drawn twice is nearer to itself than any two are."""
    return Number(discrepancy(ours.embedded, theirs.embedded), None)


def _precision(ours: Pictures, theirs: Pictures) -> Number | None:
    """The share of ours that lies in a neighbourhood of theirs; the interval takes those as given."""
    if min(len(ours.features), len(theirs.features)) <= NEIGHBOURS:  # of a rehearsal
        return None
    return _number(_mean, covered(ours.features.float(), theirs.features.float(), theirs.radii).double().cpu())


def _recall(ours: Pictures, theirs: Pictures) -> Number | None:
    return _precision(theirs, ours)


_REDUCTIONS: dict[str, Callable[[Reduced, Metric], Number | None]] = {
    "mean": _of_column(_mean),
    "median": _of_column(_median),
    "ratio": _of_column(_ratio),
    "frechet": _of_pair(_frechet),
    "kernel": _of_pair(_kernel),
    "discrepancy": _of_pair(_discrepancy),
    "precision": _of_pair(_precision),
    "recall": _of_pair(_recall),
}
