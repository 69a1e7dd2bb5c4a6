"""What a run knows of its stage under way: how much it has done, how fast, in how much memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from flows.run.budget import Spent
from tasks.device import cuda, device_used
from tasks.stage import Behalf
from tasks.stages import Extent

_KIBI = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


@dataclass
class Watch:
    """Watches one stage, which computes on so many devices; `beat` is called every half minute while it works.

    A Progress.
    """

    extent: Extent
    beat: Callable[[], object]
    clock: Callable[[], float] = time.monotonic
    unit: str | None = None
    units: int = 0
    samples: int = 0
    working_s: float = 0.0
    devices: int = 1
    behalf: Behalf | None = None
    is_part: bool = False
    """The work is done for another run, which says what becomes of it."""
    found: int = 0
    """How much was there before, of `of`."""
    of: int = 0
    total: int = 0
    """How much there is to be, as told last: what others do falls away."""
    elsewhere: bool = False
    """The work is done on other workers, which measure it; `devices` counts theirs."""
    started_s: float = field(init=False)
    _last: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        self.started_s = self.clock()
        if gpu := cuda():
            gpu.reset_peak_memory_stats()

    def __call__(self, done: int, total: int, unit: str) -> None:
        """Count what was done since the last report: a stage's first one only says what was there before."""
        now_s = self.clock()
        if self._last is not None and unit == self.unit and done > self._last[0]:
            before, since_s = self._last
            self.units += done - before
            self.samples += self.extent.samples_between(before, done)
            self.working_s += now_s - since_s
        if self._last is None:
            self.found, self.of = done, total
        self.unit, self.total, self._last = unit, total, (done, now_s)

    @property
    def seconds(self) -> float:
        """Wall time since the stage began."""
        return self.clock() - self.started_s

    def spent(self, stage_id: str) -> Spent:
        """What the stage takes of devices so far; of other workers as if all of them worked all the time."""
        return Spent(stage_id, None if self.elsewhere else self._device(), self.seconds * self.devices)

    @property
    def resumed(self) -> str:
        """What was there before the stage went on, as `37/160 pairs`; empty when nothing was."""
        return f"{self.found:,}/{self.of:,} {self.unit}" if self.found else ""

    def measured(self) -> dict[str, float | int | str | None]:
        """The measured fields of a StageRun, so far."""
        seconds, gpu = self.seconds, cuda()
        how_far = {"unit": self.unit, "done": self._last[0] if self._last else None, "total": self.total or None}
        if self.elsewhere:
            return {"seconds": seconds, **how_far}
        by_others = self._by_others
        return {
            "seconds": seconds,
            "device": self._device(),
            "device_seconds": seconds * self.devices,
            **how_far,
            "units": self.units if self.unit else None,
            "samples_per_second": self.samples / self.working_s if self.working_s > 0 else None,
            "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBI,
            "peak_device_memory_bytes": gpu.max_memory_allocated() if gpu and not by_others else None,
        }

    @property
    def _by_others(self) -> bool:
        """Whether processes of their own compute."""
        return self.devices > 1

    def _device(self) -> str:
        gpu = cuda()
        return str(gpu.get_device_name()) if gpu and self._by_others else device_used()


_current: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch) -> Iterator[Watch]:
    """The stage flow called in this block is watched."""
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)


def current() -> Watch | None:
    """The watch of the block this is called in; None in a stage flow that was started by itself."""
    return _current.get()
