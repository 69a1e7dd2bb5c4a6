"""Rate and time left."""

from __future__ import annotations

import pytest

from flows.pace import Pace, duration
from flows.terminal import LogLines


class Clock:
    """A clock that is moved by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_an_earlier_run_did_is_no_speed() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.update(1000, 2000, "steps")
    clock.now = 10.0
    pace.update(1100, 2000, "steps")
    assert pace.rate == pytest.approx(10.0) and pace.left_s == pytest.approx(90.0)
    assert str(pace) == "1,100/2,000 steps, 10/s, 1 min 30 s left"


def test_another_unit_is_another_phase() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.update(0, 10, "pairs")
    clock.now = 1.0
    pace.update(10, 10, "pairs")
    pace.update(0, 5, "pictures")
    assert pace.rate is None and str(pace) == "0/5 pictures"


def test_a_line_now_and_then_where_nobody_looks_on() -> None:
    clock, lines = Clock(), []
    show = LogLines("pairs-1", lines.append, every_s=10.0, clock=clock)
    for second in range(31):
        clock.now = float(second)
        show(second, 100, "pairs")
    assert lines == [
        "pairs-1: 10/100 pairs, 1.00/s, 1 min 30 s left",
        "pairs-1: 20/100 pairs, 1.00/s, 1 min 20 s left",
        "pairs-1: 30/100 pairs, 1.00/s, 1 min 10 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.24, "4.2 s"), (59.0, "59 s"), (185.0, "3 min 05 s"), (7800.0, "2 h 10 min")]
)
def test_durations_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text
