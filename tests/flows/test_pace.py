"""Rate and time left."""

from __future__ import annotations

import pytest

from flows.pace import Pace
from tests.flows.clock import Clock


def test_what_an_earlier_run_did_is_no_speed() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.update(1000, 2000, "steps")
    clock.now = 10.0
    pace.update(1100, 2000, "steps")
    assert pace.rate == pytest.approx(10.0) and pace.left_s == pytest.approx(90.0)
    assert str(pace) == "1,100/2,000 steps, 10/s, 1 min 30 s left"


def test_a_slow_minute_is_forgotten_half_a_minute_later() -> None:
    clock, done = Clock(), 0
    pace = Pace(clock)
    pace.update(done, 10_000, "steps")
    for second in range(1, 151):  # a minute at 1 a second, then at 10
        clock.now = float(second)
        done += 1 if second <= 60 else 10
        pace.update(done, 10_000, "steps")
        if second == 60:
            assert pace.rate == pytest.approx(1.0)
        if second >= 91:
            assert pace.rate == pytest.approx(10.0), second
    assert pace.left_s == pytest.approx((10_000 - done) / 10)


def test_what_stands_still_gets_slower_by_the_second() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in (0.0, 10.0):
        clock.now = second
        pace.update(int(10 * second), 1000, "pairs")
    clock.now = 20.0
    assert pace.rate == pytest.approx(5.0), "also when nothing is reported any more"


def test_pieces_that_take_longer_than_the_window_have_a_rate() -> None:
    clock = Clock()
    pace = Pace(clock)
    for number in range(4):
        clock.now = 120.0 * number
        pace.update(number, 100, "shards")
        assert number == 0 or pace.rate == pytest.approx(1 / 120)


def test_another_unit_is_another_phase() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.update(0, 10, "pairs")
    clock.now = 1.0
    pace.update(10, 10, "pairs")
    pace.update(0, 5, "pictures")
    assert pace.rate is None and str(pace) == "0/5 pictures"


def test_a_count_that_goes_back_is_another_phase() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.update(90, 100, "steps")
    clock.now = 10.0
    pace.update(100, 100, "steps")
    pace.update(0, 100, "steps")
    clock.now = 14.0
    pace.update(1, 100, "steps")
    assert pace.rate == pytest.approx(0.25) and str(pace) == "1/100 steps, 0.25/s, 6 min 36 s left"


def test_a_pace_that_does_not_move_is_none() -> None:
    clock = Clock()
    pace = Pace(clock)
    assert pace.rate is None and pace.left_s is None, "before the first report"
    pace.update(5, 10, "pairs")
    clock.now = 100.0
    pace.update(5, 10, "pairs")
    assert pace.rate is None and str(pace) == "5/10 pairs"
