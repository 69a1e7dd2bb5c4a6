"""The same small training by one, two and three processes, in every way: done once for all tests that look at it."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from infra import stopping
from infra.errors import UserError
from tasks.progress import silent
from tasks.train.launch import launch
from tests.tasks.train.rank_jobs import Way, one_after_the_other, trained

STOPPED_AT = 13
MICRO = {"whole": None, "1": 1, "4": 4}
WAYS = (
    *(Way(name, micro) for name, micro in MICRO.items()),
    *(Way(f"{name}-sharded", micro, shard=True) for name, micro in MICRO.items()),
)
"""The batch in parts of every size, replicated and sharded."""


@pytest.fixture(scope="session")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process leaves of every way, and `stopped`, which it did not finish."""
    folder = tmp_path_factory.mktemp("alone")
    one_after_the_other(folder, WAYS, silent)
    stopped(folder)
    return folder


def stopped(folder: Path) -> None:
    """A training that this process stops before its end."""
    with pytest.raises(stopping.Stopped):
        trained(folder, Way("stopped", stopped=STOPPED_AT))
    stopping._asked.clear()


@pytest.fixture(scope="session")
def by_two(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two ranks leave of every way, of what one had stopped, of a rank with little room, and `stopped`."""
    folder = tmp_path_factory.mktemp("two")
    shutil.copytree(alone / "stopped", folder / "resumed")
    shutil.copytree(alone / "stopped", folder / "resumed-sharded")
    disturbed = (Way("room", room=2), Way("stopped-sharded", shard=True, stopped=STOPPED_AT))
    ways = (*WAYS, Way("resumed"), Way("resumed-sharded", shard=True), *disturbed)
    with pytest.raises(UserError, match="told to stop, but not from here"):
        launch(partial(one_after_the_other, folder, ways), 2, silent)
    return folder


@pytest.fixture(scope="session")
def by_three(by_two: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What three ranks leave of every way, and of what two had stopped."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(by_two / "stopped-sharded", folder / "resumed")
    shutil.copytree(by_two / "stopped-sharded", folder / "resumed-sharded")
    ways = (*WAYS, Way("resumed"), Way("resumed-sharded", shard=True))
    launch(partial(one_after_the_other, folder, ways), 3, silent)
    return folder
