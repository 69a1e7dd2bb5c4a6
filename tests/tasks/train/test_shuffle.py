"""Both orders have every pair once an epoch and know neither ranks nor restarts; one needs few shards at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.order import batch_ids, places
from tasks.train.shuffle import Ids, shuffle

seeds = st.integers(0, 2**62)
shard_sizes = st.lists(st.integers(1, 12), min_size=1, max_size=25).map(np.array)
windows = st.integers(2, 30)
every = settings(deadline=None)


def shards_of(ids: Ids, sizes: Ids) -> Ids:
    return np.unique(np.searchsorted(np.cumsum(sizes), ids, side="right"))


@every
@given(seeds, shard_sizes, windows | st.none())
def test_every_epoch_has_every_pair_once(seed: int, sizes: Ids, window: int | None) -> None:
    count = int(sizes.sum())
    order = shuffle(seed, sizes, window)
    for epoch in range(3):
        assert sorted(order.ids(epoch * count, (epoch + 1) * count)) == [*range(count)]


@every
@given(seeds, shard_sizes, windows | st.none(), st.integers(0, 400), st.integers(0, 90))
def test_it_goes_on_from_any_place(seed: int, sizes: Ids, window: int | None, start: int, more: int) -> None:
    whole = shuffle(seed, sizes, window).ids(0, start + more)
    order = shuffle(seed, sizes, window)
    assert order.ids(start, start + more).tolist() == whole[start:].tolist()
    assert order.ids(0, start).tolist() == whole[:start].tolist(), "and back again"


@every
@given(seeds, shard_sizes, windows | st.none(), st.integers(1, 4), st.integers(0, 20))
def test_the_sequence_is_the_same_for_1_2_and_4_ranks(
    seed: int, sizes: Ids, window: int | None, share: int, steps: int
) -> None:
    def sequence(world_size: int) -> list[int]:
        ranks = [shuffle(seed, sizes, window) for _ in range(world_size)]
        batches = [
            one.ids(*places(step, 4 * share, rank, world_size))
            for step in range(steps)
            for rank, one in enumerate(ranks)
        ]
        return [int(one) for batch in batches for one in batch]

    assert sequence(1) == sequence(2) == sequence(4)


@every
@given(seeds, shard_sizes, windows, st.data())
def test_places_within_a_block_of_each_other_need_a_window_of_shards(
    seed: int, sizes: Ids, window: int, data: st.DataObject
) -> None:
    order, count = shuffle(seed, sizes, window), int(sizes.sum())
    ends = [0]
    while ends[-1] < 2 * count:
        ends.append(order.ahead(ends[-1])[1])
    for start, stop in zip(ends, ends[1:], strict=False):
        assert len(shards_of(order.ids(start, stop), sizes)) <= window // 2
    start = data.draw(st.integers(0, count))
    length = min(stop - start for start, stop in zip(ends, ends[1:], strict=False))
    assert len(shards_of(order.ids(start, start + length), sizes)) <= window


@every
@given(seeds, shard_sizes, windows | st.none(), st.integers(0, 400))
def test_what_comes_ahead_is_what_is_needed_next(seed: int, sizes: Ids, window: int | None, place: int) -> None:
    order = shuffle(seed, sizes, window)
    wanted, again = order.ahead(place)
    assert again > place and wanted.tolist() == order.ids(place, place + len(wanted)).tolist()
    assert window is None or len(shards_of(wanted, sizes)) <= window
    assert place + len(wanted) >= again, "nobody waits for what he was not told of"


def test_without_a_window_it_is_the_order_of_old() -> None:
    order = shuffle(7, np.array([5, 9, 3]), None)
    for step in range(9):
        assert order.ids(*places(step, 4)).tolist() == batch_ids(7, step, 4, 17).tolist()


def test_orders_never_change() -> None:
    order = shuffle(7, np.array([3, 2, 4, 3]), 4)
    assert order.ids(0, 12).tolist() == [0, 7, 8, 2, 6, 1, 5, 9, 10, 11, 4, 3]
    assert order.ids(12, 24).tolist() == [8, 5, 7, 6, 0, 2, 1, 4, 10, 9, 3, 11]


@pytest.mark.parametrize("window", [None, 8])
def test_epochs_seeds_and_blocks_differ(window: int | None) -> None:
    sizes = np.full(16, 50)
    orders = [shuffle(seed, sizes, window) for seed in (0, 1)]
    found = {tuple(order.ids(epoch * 800, epoch * 800 + 800)) for order in orders for epoch in (0, 1)}
    assert len(found) == 4 and tuple(range(800)) not in found


def test_pairs_of_a_block_are_mixed_evenly() -> None:
    """Over many seeds a pair of the first block stands in each quarter of it about as often."""
    sizes = np.full(8, 10)
    quarters = np.zeros(4)
    for seed in range(400):
        first = shuffle(seed, sizes, 8).ids(0, 40)
        quarters[np.flatnonzero(first == first.min())[0] // 10] += 1
    assert abs(quarters - 100).max() < 45
