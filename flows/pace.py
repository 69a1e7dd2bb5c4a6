"""How fast a stage goes and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Rate and time left, from the first report on: what an earlier run did does not count as speed."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unit, self._first, self._since_s = "", 0, clock()
        self.done, self.total = 0, 0

    def update(self, done: int, total: int, unit: str) -> None:
        """Take a report in; another unit or a count that goes back starts a new phase."""
        if unit != self._unit or done < self.done:
            self._unit, self._first, self._since_s = unit, done, self._clock()
        self.done, self.total = done, total

    @property
    def rate(self) -> float | None:
        """Pieces per second, None before there is anything to measure."""
        elapsed_s = self._clock() - self._since_s
        finished = self.done - self._first
        return finished / elapsed_s if finished > 0 and elapsed_s > 0 else None

    @property
    def left_s(self) -> float | None:
        """Seconds to go at this rate."""
        return (self.total - self.done) / self.rate if self.rate else None

    def __str__(self) -> str:
        text = f"{self.done:,}/{self.total:,} {self._unit}"
        if self.rate is None or self.left_s is None:
            return text
        return f"{text}, {self.rate:,.{0 if self.rate >= 10 else 2}f}/s, {duration(self.left_s)} left"


def duration(seconds: float) -> str:
    """A time for people: 4.2 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
