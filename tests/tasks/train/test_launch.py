"""Ranks that die, that are told to stop, that have something to say; and two machines' worth of them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

import tasks.train.launch
from infra import stopping
from infra.artifact import Artifact
from infra.errors import UserError
from infra.store.local import LocalStore
from tasks.progress import silent
from tasks.sections import Trained
from tasks.stage import stage_fingerprint
from tasks.train.launch import launch
from tests import ROOT
from tests.tasks.train.rank_jobs import STAGE, STEPS, Way, left, one_after_the_other, refusing, trained

PATIENCE_S = 240.0
pytestmark = pytest.mark.timeout(900)  # torch is imported by three or more processes of a busy machine


def until(happened: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline_s
        time.sleep(0.1)


@pytest.mark.slow
def test_a_killed_rank_is_a_restart_from_the_last_checkpoint(by_two: Path, tmp_path: Path) -> None:
    told = list[int]()
    job = partial(one_after_the_other, tmp_path, [Way("killed", killed=15)])
    launch(job, 2, lambda done, total, unit: told.append(done))
    assert told[: told.index(15) + 1] == [*range(16)] and told[told.index(15) + 1 :] == [*range(10, STEPS + 1)]
    found, undisturbed = (left(folder, at) for folder, at in ((tmp_path, "killed"), (by_two, "whole")))
    assert (found["weights"], found["losses"]) == (undisturbed["weights"], undisturbed["losses"]), "bitwise"


LATE = """
import os, pathlib, time
if os.environ.get("RANK") == "1":
    restart = os.environ["TORCHELASTIC_RESTART_COUNT"]
    pathlib.Path(__file__).with_name(f"start-{restart}").touch()
    time.sleep(5 * int(restart))
"""


@pytest.mark.slow
def test_a_restarted_rank_never_meets_one_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of the new ranks comes late: the first one must not call its predecessor."""
    (tmp_path / "sitecustomize.py").write_text(LATE)
    monkeypatch.syspath_prepend(tmp_path)
    launch(partial(one_after_the_other, tmp_path, [Way("killed", killed=15)]), 2, silent)
    assert [path.name for path in sorted(tmp_path.glob("start-*"))] == ["start-0", "start-1"]


@pytest.mark.slow
def test_told_to_stop_all_ranks_stop_at_the_same_step_with_a_checkpoint(alone: Path, tmp_path: Path) -> None:
    told = list[int]()

    def ask(done: int, total: int, unit: str) -> None:
        told.append(done)
        if done == 1:
            stopping.ask()

    job = partial(one_after_the_other, tmp_path, [Way("stopped", pace_s=0.1)])
    try:
        with pytest.raises(stopping.Stopped):
            launch(job, 2, ask)
    finally:
        stopping._asked.clear()
    reached = told[-1]
    assert told == [*range(reached + 1)] and 1 <= reached < STEPS
    (checkpoint,) = (tmp_path / "stopped" / "store").rglob("step-*.json")
    assert checkpoint.name == f"step-{reached:08d}.json"
    trained(tmp_path, Way("stopped"))
    assert left(tmp_path, "stopped")["losses"] == pytest.approx(left(alone, "whole")["losses"], rel=0, abs=1e-6)


def launcher(code: str, **environment: str) -> subprocess.Popen[str]:
    """A process that launches ranks."""
    imports = "from pathlib import Path\nfrom tests.tasks.train import rank_jobs\n"
    return subprocess.Popen(
        [sys.executable, "-c", imports + code],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


_DAWDLING = """
from functools import partial
from infra.store.local import LocalStore
from tasks.progress import silent
from tasks.sections import Trained
from tasks.stage import stage_fingerprint
from tasks.train.launch import launch
launch(partial(rank_jobs.dawdling, Path({folder!r})), 2, silent)
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["launcher", "torchrun"])
def test_no_rank_outlives_what_started_it(killed: str, tmp_path: Path) -> None:
    """They end with their step and a checkpoint when the launcher is gone, and at once when torchrun is."""
    process = launcher(_DAWDLING.format(folder=str(tmp_path)))
    try:
        until(lambda: process.poll() is not None or all((tmp_path / f"pid-{rank}").exists() for rank in (0, 1)))
        ranks = [int((tmp_path / f"pid-{rank}").read_text()) for rank in (0, 1)]
        (torchrun,) = {psutil.Process(rank).ppid() for rank in ranks}
        os.kill(process.pid if killed == "launcher" else torchrun, signal.SIGKILL)
        until(lambda: not any(psutil.pid_exists(pid) for pid in (*ranks, torchrun)))
        process.wait(PATIENCE_S)
    finally:
        process.kill()
        process.communicate()
    assert sorted(path.name for path in tmp_path.glob("stopped-*")) == (
        ["stopped-0", "stopped-1"] if killed == "launcher" else []
    )


NEVER = """
import os, pathlib, time
if "RANK" in os.environ and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    pathlib.Path(__file__).with_name("pid-" + os.environ["RANK"]).write_text(str(os.getpid()))
    time.sleep(600 * int(os.environ["RANK"]))
"""


@pytest.mark.slow
def test_a_rank_that_waits_for_another_leaves_with_its_launcher(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(NEVER)
    process = launcher(_DAWDLING.format(folder=str(tmp_path)), PYTHONPATH=str(tmp_path))
    try:
        until(lambda: process.poll() is not None or all((tmp_path / f"pid-{rank}").exists() for rank in (0, 1)))
        first, late = (psutil.Process(int((tmp_path / f"pid-{rank}").read_text())) for rank in (0, 1))
        torchrun = late.parent()
        assert torchrun is not None
        until(lambda: any(where.status == psutil.CONN_LISTEN for where in first.net_connections()))
        process.kill()
        until(lambda: not first.is_running() or first.status() == psutil.STATUS_ZOMBIE)
        late.kill()
        until(lambda: not torchrun.is_running() or torchrun.status() == psutil.STATUS_ZOMBIE)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_what_a_rank_has_to_say_to_the_user_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^the store: is gone\nfor good$"):
        launch(partial(refusing, tmp_path, UserError("the store: is gone\nfor good")), 2, silent)
    assert (tmp_path / "begun").read_text() == "x", "it is not tried again"


@pytest.mark.slow
def test_ranks_that_fail_again_and_again_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks.train.launch, "RESTARTS", 0)  # each takes seconds
    with pytest.raises(UserError, match=r"the 2 processes .* started again up to 0 times.* from the last checkpoint"):
        launch(partial(refusing, tmp_path, ValueError("a defect")), 2, silent)
    assert (tmp_path / "begun").read_text() == "x"


@pytest.mark.slow
def test_two_launchers_of_one_rank_each_train_together(alone: Path, tmp_path: Path) -> None:
    """As on two machines, which share nothing but the store and the meeting point."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    meeting = {"PET_NNODES": "2", "PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"127.0.0.1:{port}"}
    code, digests = f"print(rank_jobs.staged(Path({str(tmp_path)!r}), 1).digest)", list[str]()
    machines = [launcher(code, **meeting, PET_RDZV_ID="one") for _ in range(2)]
    try:
        for machine in machines:
            told, said = machine.communicate(timeout=PATIENCE_S)
            assert machine.returncode == 0, said
            digests.append(told.strip())
    finally:
        for machine in machines:
            machine.kill()
            machine.communicate()
    made = Artifact.find(LocalStore(tmp_path), f"stage/{stage_fingerprint(STAGE, Trained(), {})[:16]}")
    assert digests == [made.digest] * 2
    losses = json.loads(made.fetch("losses.json").read_text())
    assert losses == pytest.approx(left(alone, "whole")["losses"], rel=0, abs=1e-6)


def test_the_threads_of_a_machine_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(tasks.train.launch.torch, "get_num_threads", lambda: 16)
    assert tasks.train.launch._environment(4)["OMP_NUM_THREADS"] == "4"
    assert tasks.train.launch._environment(32)["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert tasks.train.launch._environment(4)["OMP_NUM_THREADS"] == "3"
