"""Data order and randomness are functions of (seed, position)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.order import Draws, batch_ids, derive_seed, sample_ids, sample_noise

seeds, counts, sizes = st.integers(0, 2**62), st.integers(1, 40), st.integers(1, 50)


@given(seeds, counts, sizes)
def test_every_epoch_is_a_permutation(seed: int, count: int, batch_size: int) -> None:
    steps = -(-3 * count // batch_size)
    order = np.concatenate([batch_ids(seed, step, batch_size, count) for step in range(steps)])
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == [*range(count)]


@given(seeds, counts, sizes, st.lists(st.integers(0, 10_000), min_size=1, max_size=6))
def test_a_batch_depends_on_seed_and_step_alone(seed: int, count: int, batch_size: int, steps: list[int]) -> None:
    first = {step: batch_ids(seed, step, batch_size, count).tolist() for step in steps}
    batch_ids(seed + 1, 0, batch_size, count)  # another training between
    assert first == {step: batch_ids(seed, step, batch_size, count).tolist() for step in reversed(steps)}


@given(seeds, counts, st.integers(1, 10), st.integers(0, 100))
def test_the_order_does_not_depend_on_the_batch_size(seed: int, count: int, size: int, step: int) -> None:
    ones = [batch_ids(seed, place, 1, count)[0] for place in range(step * size, (step + 1) * size)]
    assert batch_ids(seed, step, size, count).tolist() == ones


@pytest.mark.parametrize("count", [1, 7, 70_000])
def test_the_order_is_the_one_that_trainings_under_way_have(count: int) -> None:
    """It is kept in half the memory that numpy's own permutation takes."""
    order = np.random.Generator(np.random.PCG64([3, 1])).permutation(count)
    found = sample_ids(3, count, 2 * count, count)
    assert found.dtype == np.int64 and found.tolist() == order.tolist()


def test_epochs_and_seeds_differ() -> None:
    orders = [batch_ids(seed, epoch, 100, 100).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4 and [*range(100)] not in orders


@settings(deadline=None)
@given(seeds, counts, st.integers(1, 8), st.integers(0, 20), st.integers(1, 10))
def test_the_sequence_is_the_same_for_1_2_and_4_ranks_and_from_any_step(
    seed: int, count: int, share: int, first: int, steps: int
) -> None:
    def sequence(world_size: int, steps: range) -> list[int]:
        size = 4 * share
        ranks = range(world_size)
        return [
            int(one) for step in steps for rank in ranks for one in batch_ids(seed, step, size, count, rank, world_size)
        ]

    whole = sequence(1, range(first + steps))
    assert whole == sample_ids(seed, 0, 4 * share * (first + steps), count).tolist()
    for world_size in (1, 2, 4):
        before, after = sequence(world_size, range(first)), sequence(world_size, range(first, first + steps))
        assert before + after == whole


@given(counts, st.integers(0, 200), st.integers(0, 100))
def test_places_are_counted_through(count: int, start: int, more: int) -> None:
    whole = sample_ids(0, 0, start + more, count)
    assert sample_ids(0, start, start + more, count).tolist() == whole[start:].tolist()


def test_shares_are_equal() -> None:
    with pytest.raises(ValueError, match="a batch of 6 samples has no equal shares for 4 ranks"):
        batch_ids(0, 0, 6, 10, 0, 4)


def test_nothing_to_draw_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        batch_ids(0, 0, 4, 0)


def test_derived_seeds_never_change() -> None:
    assert derive_seed(0, "pairs", "reflow", 17) == 6088957237101485419
    assert Draws(0, "noise").integers(2**62, 1).item() == 3698513877055004428


def test_seeds_that_share_their_low_32_bits_share_no_noise() -> None:
    seeds = [derive_seed(0, i) for i in range(50)]
    others = [seed ^ (1 << bit) for seed in seeds for bit in (32, 47, 62)]
    noise = sample_noise([*seeds, *others], (4,))
    assert len({tuple(row.tolist()) for row in noise}) == len(noise)


def test_draws_are_of_their_kind_and_of_their_path() -> None:
    draws = Draws(3, "reflow", 7)
    normal, uniform, whole = draws.normal(2, 5000), draws.uniform(10_000), draws.integers(6, 10_000)
    assert (normal.shape, normal.dtype) == ((2, 5000), torch.float32)
    assert abs(normal.mean().item()) < 0.04 and abs(normal.std().item() - 1) < 0.03
    assert 0 <= uniform.min() and uniform.max() < 1 and abs(uniform.mean().item() - 0.5) < 0.012
    assert whole.unique().tolist() == [*range(6)]
    assert torch.equal(Draws(3, "reflow", 7).normal(2, 5000), normal)
    assert not torch.equal(Draws(3, "reflow", 8).normal(2, 5000), normal)


@given(st.lists(st.integers(0, 999) | st.sampled_from(["pairs", "reflow"]), min_size=1, max_size=3))
def test_a_derived_seed_has_63_bits_and_its_own_path(parts: list[int | str]) -> None:
    assert 0 <= derive_seed(*parts) < 2**63
    assert derive_seed(*parts) != derive_seed(*parts, 0)


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6), st.integers(0, 5))
def test_noise_depends_on_its_own_seed_alone(among: list[int], place: int) -> None:
    noise = sample_noise(among, (4, 8, 8))
    place %= len(among)
    assert noise.shape == (len(among), 4, 8, 8)
    assert torch.equal(noise[place : place + 1], sample_noise([among[place]], (4, 8, 8)))


def test_noise_is_standard_normal_and_independent_between_seeds() -> None:
    noise = sample_noise([derive_seed(0, i) for i in range(400)], (4, 4, 4)).flatten(1)
    values = noise.flatten().sort().values.double()
    normal = torch.distributions.Normal(0.0, 1.0).cdf(values)
    assert (normal - (torch.arange(len(values)) + 0.5) / len(values)).abs().max() < 1.95 / len(values) ** 0.5
    correlation = torch.corrcoef(noise) - torch.eye(len(noise))
    assert correlation.abs().max() < 6.5 / 64**0.5  # the largest of 80,000 pairs
