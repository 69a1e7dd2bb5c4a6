"""In which order a training takes its pairs: shuffled over all shards, or over a window of them at a time.

Either is an endless row of epochs, each with every pair once, and a function of (seed, place): there is no state to
resume, and nothing depends on the number of ranks (tasks/order.py).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tasks.order import sample_ids

Ids = NDArray[np.int64]


class Shuffle(Protocol):
    """An order of pairs."""

    def ids(self, start: int, stop: int) -> Ids:
        """The pairs at places ``start`` to ``stop``, [stop - start]."""
        ...

    def ahead(self, place: int) -> tuple[Ids, int]:
        """The pairs to have at hand from a place on, in the order of need, and the place at which to ask again."""
        ...


def shuffle(seed: int, shard_sizes: Ids, window: int | None) -> Shuffle:
    """The order of the pairs of shards of so many each; ``window`` is a number of shards, None: all of them."""
    return Whole(seed, int(shard_sizes.sum())) if window is None else Windowed(seed, shard_sizes, window)


class Whole:
    """Each epoch is a permutation of all pairs: a few hundred batches need nearly every shard."""

    def __init__(self, seed: int, count: int) -> None:
        self._seed, self._count = seed, count

    def ids(self, start: int, stop: int) -> Ids:
        """The pairs at places ``start`` to ``stop``."""
        return sample_ids(self._seed, start, stop, self._count)

    def ahead(self, place: int) -> tuple[Ids, int]:
        """One epoch, which has every shard."""
        return self.ids(place, place + self._count), place + self._count


class Windowed:
    """Each epoch is a permutation of the shards, cut into blocks; within a block all its pairs are shuffled.

    A block has at most half of the window's shards, so that the next comes while it is read: the first batch needs half
    a window, and places that are no further apart than the shortest block is long need a window at most.
    """

    def __init__(self, seed: int, shard_sizes: Ids, window: int) -> None:
        self._seed, self._sizes, self._starts = seed, shard_sizes, np.cumsum(shard_sizes) - shard_sizes
        self._count, self._blocks = int(shard_sizes.sum()), -(-len(shard_sizes) // max(1, window // 2))
        self._epoch, self._mixed = lru_cache(2)(self._cut), lru_cache(2)(self._mix)

    def ids(self, start: int, stop: int) -> Ids:
        """The pairs at places ``start`` to ``stop``."""
        found = [np.empty(0, np.int64)]
        while start < stop:
            begin, pairs = self._block(start)
            found.append(pairs[start - begin : stop - begin])
            start = begin + len(pairs)
        return np.concatenate(found)

    def ahead(self, place: int) -> tuple[Ids, int]:
        """The rest of this block, and the next one."""
        begin, pairs = self._block(place)
        end = begin + len(pairs)
        return np.concatenate([pairs[place - begin :], self._block(end)[1]]), end

    def _block(self, place: int) -> tuple[int, Ids]:
        """Where the block of a place begins, and its pairs."""
        epoch, rest = divmod(place, self._count)
        _, ends = self._epoch(epoch)
        number = int(np.searchsorted(ends, rest, side="right"))
        pairs = self._mixed(epoch, number)
        return epoch * self._count + int(ends[number]) - len(pairs), pairs

    def _cut(self, epoch: int) -> tuple[list[Ids], Ids]:
        """The shards of an epoch's blocks, and the place within the epoch at which each ends."""
        blocks = np.array_split(_random(self._seed, epoch).permutation(len(self._sizes)), self._blocks)
        return blocks, np.cumsum([self._sizes[shards].sum() for shards in blocks])

    def _mix(self, epoch: int, number: int) -> Ids:
        shards = self._epoch(epoch)[0][number]
        pairs = [np.arange(self._starts[shard], self._starts[shard] + self._sizes[shard]) for shard in shards]
        return _random(self._seed, epoch, number).permutation(np.concatenate(pairs))


def _random(*seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))
