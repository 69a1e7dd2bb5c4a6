"""Shares: together they are the whole, each begins with its own, and helpers meet the others late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tasks.share import Share
from tasks.stages import Unit

GROUPS = tuple((Unit(f"unit-{number}"),) for number in range(12))


@given(st.integers(0, 40), st.integers(1, 9))
def test_every_share_looks_for_everything_and_first_for_its_own(count: int, of: int) -> None:
    groups = tuple((Unit(str(number)),) for number in range(count))
    owned = []
    for number in range(of):
        order = Share(number=number, of=of).in_order(groups)
        own = list(groups[number::of])
        assert order[: len(own)] == own, "every n-th, in order"
        assert sorted(order) == sorted(groups), "nothing is left out"
        owned += own
    assert sorted(owned) == sorted(groups), "and no group is two workers' own"


def test_a_helper_begins_at_the_end_of_its_neighbours_groups() -> None:
    order = [int(group[0].id.removeprefix("unit-")) for group in Share(number=1, of=3).in_order(GROUPS)]
    assert order == [1, 4, 7, 10, 11, 8, 5, 2, 9, 6, 3, 0]
