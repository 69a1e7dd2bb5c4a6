"""Small stages: the command line over them in a process of its own, and runs of them in this one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client

from flows.run import runner, sources
from flows.server.connection import connected
from infra.store import open_store
from tasks.stages import STAGES
from tests import ROOT
from tests.flows.kitchen import Kitchen
from tests.flows.observed.small_store import Small, make_small

Cli = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def api(prefect_home: Path) -> Iterator[SyncPrefectClient]:
    """A client of a real server, which the module's flows report to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(prefect_home))
        with connected(), get_client(sync_client=True) as client:
            yield client


@pytest.fixture
def start(tmp_path: Path, prefect_home: Path) -> Start:
    """Starts `instaflow ARGUMENTS` in `tmp_path`; keywords are added to the environment."""
    here = {"PYTHONPATH": str(ROOT), "SMALL_STAGES_WEIGHTS": str(tmp_path / "weights")}

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "tests.flows.small_stages", *arguments],
            cwd=tmp_path,
            env=os.environ | here | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture
def cli(start: Start) -> Cli:
    """Runs `instaflow ARGUMENTS` to its end."""

    def cli(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = start(*arguments, **environment)
        out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return cli


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `teacher`, `clip` and `judge` in the place of the embedded weights."""
    for (tree, called), path in sources.EMBEDDED.items():
        (tmp_path / path.name).mkdir()
        (tmp_path / path.name / "weights.txt").write_text(path.name)
        monkeypatch.setitem(sources.EMBEDDED, (tree, called), tmp_path / path.name)
    return tmp_path


@pytest.fixture
def kitchen(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    """Runs without Prefect, in an empty store."""
    kitchen = Kitchen(open_store(weights / "store"))
    monkeypatch.setattr(runner, "STAGE_FLOWS", dict.fromkeys(STAGES, kitchen.flow))
    return kitchen


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    """One small store for all who look on; no test changes it."""
    return make_small(tmp_path_factory.mktemp("small"))
