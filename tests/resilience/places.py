"""Runs of the whole chain in processes of their own, how they ended, and what they have to end with."""

from __future__ import annotations

import json
import multiprocessing
import shutil
from dataclasses import dataclass, field, replace
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.resilience.driver import Attempt, attempt

PATIENCE_S = 300


@dataclass
class Ended:
    """How an attempt ended, and the points it came to."""

    exitcode: int | None
    points: list[str]
    log: str
    digests: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


@dataclass
class Place:
    """A store, and where attempts on it leave their traces."""

    asked: Attempt
    started: list[ForkServerProcess] = field(default_factory=list)

    @property
    def is_remote(self) -> bool:
        return "://" in self.asked.store

    def start(self, **changes: object) -> tuple[ForkServerProcess, Attempt]:
        """A run of the chain in a process of its own."""
        folder = self.asked.folder / f"attempt-{len(self.started):03d}"
        folder.mkdir(parents=True)
        asked = replace(self.asked, folder=folder, **changes)  # type: ignore[arg-type]
        process = multiprocessing.get_context("forkserver").Process(target=attempt, args=(asked,))
        process.start()
        self.started.append(process)
        return process, asked

    def run(self, patience_s: float = PATIENCE_S, **changes: object) -> Ended:
        """A run to its end, whatever that is."""
        return ended(*self.start(**changes), patience_s)

    def clean_up(self) -> None:
        for process in self.started:
            process.kill()
            process.join()


def ended(process: ForkServerProcess, asked: Attempt, patience_s: float = PATIENCE_S) -> Ended:
    """Wait for the end; the process is killed when patience is over."""
    process.join(patience_s)
    process.kill()
    process.join()
    log, told = asked.folder / "log", asked.folder / "told.json"
    found = Ended(process.exitcode, points_of(asked), "\n".join(_lines(log)))
    if told.exists():
        content = json.loads(told.read_text())
        found.digests, found.damaged = content["digests"], content["damaged"]
    shutil.rmtree(asked.folder / "tmp", ignore_errors=True)
    return found


def points_of(asked: Attempt) -> list[str]:
    """The points that an attempt has come to so far."""
    return _lines(asked.folder / "points")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def require_same(found: Ended, undisturbed: Ended, until: str = "report") -> None:
    """The run ended well, with every artifact whole and as if nothing had happened."""
    assert found.exitcode == 0, found.log
    assert found.digests == {stage: undisturbed.digests[stage] for stage in up_to(until, undisturbed)}
    assert not found.damaged


def up_to(until: str, undisturbed: Ended) -> list[str]:
    """The ids of the stages to that one, in the order of the chain."""
    stages = [*undisturbed.digests]
    return stages[: stages.index(until) + 1]
