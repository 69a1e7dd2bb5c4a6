"""Samples go through a network so many at once, and half as many from where they did not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

from infra.errors import UserError
from tasks.progress import say

_T = TypeVar("_T")


class Batches:
    """`size` samples at once, as performance.sample_batch_size says, until that is too many."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, rows: range, do: Callable[[range], _T]) -> Iterator[_T]:
        """What `do` makes of the rows, batch by batch; it is asked again for less of what did not fit into memory.

        Raises UserError when not even one does.
        """
        start = rows.start
        while start < rows.stop:
            batch = range(start, min(start + self.size, rows.stop))
            try:
                made = do(batch)
            except torch.OutOfMemoryError as error:
                self._halve(len(batch), error)
            else:
                yield made
                start = batch.stop

    def _halve(self, count: int, error: torch.OutOfMemoryError) -> None:
        if count == 1:
            why = str(error).strip().partition("\n")[0]
            raise UserError(
                f"out of memory with a single sample: {why}. Free the device for this process or take a larger one;"
                " pairs can also be solved with teacher.dtype: bf16."
            ) from error
        self.size = count // 2
        say(f"out of memory with {count} samples at once; going on with {self.size} (performance.sample_batch_size)")
