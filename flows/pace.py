"""How fast a stage goes and how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from infra.words import duration

WINDOW_S = 30.0
_APART_S = 1.0  # between two reports that are kept: a thousand steps a second are not remembered one by one


class _Report(NamedTuple):
    at_s: float
    done: int


class Pace:
    """Rate and time left over the last half minute: a slow minute is forgotten half a minute after it.

    It counts from the first report on: what an earlier run did is no speed.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._unit = clock, ""
        self._reports: deque[_Report] = deque()  # the first is the last one from before the window, if there is any
        self.done, self.total = 0, 0

    def update(self, done: int, total: int, unit: str) -> None:
        """Take a report in; another unit or a count that goes back starts a new phase."""
        if unit != self._unit or done < self.done:
            self._reports.clear()
        self._unit, self.done, self.total, now_s = unit, done, total, self._clock()
        if not self._reports or now_s - self._reports[-1].at_s >= _APART_S:
            self._reports.append(_Report(now_s, done))
        while len(self._reports) > 1 and self._reports[1].at_s <= now_s - WINDOW_S:
            self._reports.popleft()

    @property
    def rate(self) -> float | None:
        """Pieces per second, None before there is anything to measure."""
        if not self._reports:
            return None
        elapsed_s, finished = self._clock() - self._reports[0].at_s, self.done - self._reports[0].done
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
