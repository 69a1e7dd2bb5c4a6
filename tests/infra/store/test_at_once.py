"""Many at a time: in their order, no more than so many, and over with the first failure."""

from __future__ import annotations

import threading

import pytest

from infra.store.at_once import at_once


def test_the_order_is_that_of_the_items_and_no_more_than_so_many_are_under_way() -> None:
    together, barrier = threading.Semaphore(3), threading.Barrier(3)

    def do(item: int) -> int:
        assert together.acquire(blocking=False), "more than three at a time"
        barrier.wait(30)  # there are three at a time
        together.release()
        return item * item

    assert [*at_once(do, range(12), 3)] == [item * item for item in range(12)]


def test_the_first_failure_is_raised_and_the_rest_never_begins() -> None:
    begun: list[int] = []

    def do(item: int) -> int:
        begun.append(item)
        if item == 1:
            raise ValueError("second")
        return item

    found = at_once(do, range(1000), 1)
    assert next(found) == 0
    with pytest.raises(ValueError, match="second"):
        next(found)
    assert len(begun) <= 4


def test_who_stops_asking_stops_the_work() -> None:
    go_on, begun = threading.Event(), []

    def do(item: int) -> int:
        begun.append(item)
        assert item == 0 or go_on.wait(30)
        return item

    found = at_once(do, range(1000), 2)
    assert next(found) == 0
    threading.Timer(0.05, go_on.set).start()
    found.close()
    assert len(begun) <= 6
