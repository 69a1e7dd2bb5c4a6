"""What a run shows on stderr: a bar where someone looks on, a line now and then where nobody does."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.segment import Segment
from rich.text import Text

from flows.pace import Pace
from tasks import progress

LINE_EVERY_S = 10.0
BAR_AFTER_S = 2.0
_WIDE = 10_000  # columns


def results() -> Console:
    """The console of results, on stdout: as wide as need be where nobody looks on, so that nothing is cut."""
    screen = Console(highlight=False, markup=False)
    return screen if screen.is_terminal else Console(highlight=False, markup=False, width=_WIDE)


def say(result: RenderableType) -> None:
    """Print a result: text unbroken, a table without the blanks that fill up its lines."""
    is_text = isinstance(result, str)
    results().print(result if is_text else _Trimmed(result), soft_wrap=is_text)


@dataclass(frozen=True)
class _Trimmed:
    what: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for line in console.render_lines(self.what, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            yield from line[:-1]
            yield from (Segment(last.text.rstrip(), last.style) for last in line[-1:])
            yield Segment.line()


def console() -> Console:
    """The console of everything that is said beside a result. When nobody listens any more, the work goes on."""
    return _Console(stderr=True, highlight=False)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Be quiet: the worker whose pipe it was is gone; rich would end the process."""
        self.quiet = True


@contextmanager
def shown(label: str) -> Iterator[progress.Progress]:
    """A Progress that shows the stage `label` for as long as it runs."""
    screen = console()
    if not screen.is_terminal:
        yield LogLines(label, lambda line: screen.print(line, soft_wrap=True))
        return
    bar = Bar(label, screen)
    try:
        yield bar
    finally:
        bar.close()


class LogLines:
    """A plain line at most every `every_s` seconds."""

    def __init__(
        self,
        label: str,
        write: Callable[[str], None],
        every_s: float = LINE_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label, self._write, self._every_s, self._clock = label, write, every_s, clock
        self._pace, self._last_s = Pace(clock), clock()

    def __call__(self, done: int, total: int, unit: str) -> None:
        self._pace.update(done, total, unit)
        if self._clock() - self._last_s >= self._every_s:
            self._last_s = self._clock()
            self._write(f"{self._label}: {self._pace}")


class _PaceColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(str(task.fields["pace"]))


class Bar:
    """A bar with rate and time left, shown once the stage has taken two seconds, gone when it is done."""

    def __init__(self, label: str, screen: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), _PaceColumn())
        self._bars = Progress(*columns, console=screen, transient=True, refresh_per_second=4)
        self._pace, self._started_s, self._live = Pace(), time.monotonic(), False
        self._task = self._bars.add_task(label, total=None, pace=self._pace)

    def __call__(self, done: int, total: int, unit: str) -> None:
        self._pace.update(done, total, unit)
        self._bars.update(self._task, completed=done, total=total)
        if not self._live and time.monotonic() - self._started_s >= BAR_AFTER_S:
            self._bars.start()
            self._live = True

    def close(self) -> None:
        """Take the bar off the screen."""
        if self._live:
            self._bars.stop()
