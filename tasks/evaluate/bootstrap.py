"""How sure a number is: the spread of what it would be with pictures drawn again from those that there are."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from tasks.order import derive_seed

REPLICATES, FEW_REPLICATES = 50, 20
WIDE = 256
"""Features of more dimensions have few replicates: a Frechet distance takes the cube of their number."""

TWO_SIDED_95 = 1.96


@lru_cache(maxsize=4)
def resamples(count: int, side: str = "pictures") -> Tensor:
    """How often each of ``count`` pictures is drawn in each replicate: float64 [R, count], rows add up to ``count``.

    The same for every model: what is compared is drawn alike.
    """
    rng = np.random.Generator(np.random.Philox(key=derive_seed("bootstrap", side, count)))
    return torch.from_numpy(rng.multinomial(count, np.full(count, 1 / count), size=REPLICATES)).double()


def half_width(replicates: list[float]) -> float:
    """Half the width of the 95 % interval around a number whose replicates these are.

    1.96 standard deviations, and not their quantiles: drawing again makes a Frechet distance larger.
    """
    return TWO_SIDED_95 * float(np.std(replicates, ddof=1))
