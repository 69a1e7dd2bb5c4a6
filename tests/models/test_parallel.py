"""Many things at once, in order, never more under way than said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from models.parallel import MOST, in_order, threads


def test_the_order_is_that_of_the_items_whoever_is_done_first() -> None:
    def late(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(in_order(late, range(20), 4)) == [number * number for number in range(20)]
    assert list(in_order(late, [], 4)) == [] and 1 <= threads() <= MOST


def test_only_so_many_are_under_way() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(50):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), 2)
    for asked in range(10):
        assert next(results) == asked
        assert len(taken) <= asked + 4, "two for each thread"


def test_it_is_several_threads() -> None:
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(in_order(lambda _: meeting.wait(), range(3), 3))) == 3


def test_the_first_error_stands_where_its_result_would() -> None:
    def refuse_five(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    seen: list[int] = []
    with pytest.raises(ValueError, match="five"):
        seen.extend(in_order(refuse_five, range(10), 2))
    results = in_order(refuse_five, range(10), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_who_stops_asking_waits_for_nothing_more() -> None:
    done: list[int] = []
    results = in_order(done.append, range(100), 2)
    next(results)
    results.close()  # type: ignore[attr-defined]  # a generator
    assert len(done) <= 5
