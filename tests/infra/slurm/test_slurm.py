"""The batch file, run as Slurm runs it: by a shell, with a signal to that shell before the time is over."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests import ROOT

BATCH = ROOT / "infra" / "slurm" / "worker.sbatch"
_WORKER = """#!{python}
import os, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
names = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME", "CUDA_VISIBLE_DEVICES")
print(*sys.argv[1:], *(os.environ[name] for name in names), flush=True)
while not told:
    time.sleep(0.01)
print("drained", flush=True)
"""


def _environment(home: Path) -> dict[str, str]:
    slurm = {"SLURM_JOB_ID": "7", "SLURM_TMPDIR": str(home / "disk"), "CUDA_VISIBLE_DEVICES": "3"}
    return {"HOME": str(home), "PATH": f"{home}{os.pathsep}{os.environ['PATH']}", **slurm}


def test_shellcheck_finds_nothing() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")
    run = subprocess.run([shellcheck, BATCH], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_without_its_file_of_secrets_it_says_what_is_missing(tmp_path: Path) -> None:
    run = subprocess.run(["bash", BATCH], env=_environment(tmp_path), capture_output=True, text=True, check=False)
    assert run.returncode == 2 and f"{tmp_path}/.config/instaflow/worker.env: no such file" in run.stderr


def test_the_signal_before_the_end_reaches_the_worker(tmp_path: Path) -> None:
    """A stand-in for `instaflow` notes what it is told: the worker itself is tried where it is made."""
    (tmp_path / "instaflow").write_text(_WORKER.format(python=sys.executable))
    (tmp_path / "instaflow").chmod(0o755)
    secrets = tmp_path / ".config" / "instaflow" / "worker.env"
    secrets.parent.mkdir(parents=True)
    secrets.write_text("PREFECT_API_URL=http://server:4200/api\nPREFECT_API_AUTH_STRING='user:pass word'\n")
    with subprocess.Popen(["bash", BATCH], env=_environment(tmp_path), stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        told = job.stdout.readline().strip()
        home = f"{tmp_path}/disk/instaflow-7"
        assert told == f"worker gpu --name slurm-7 http://server:4200/api user:pass word {home} 3"
        job.send_signal(signal.SIGTERM)  # --signal=B:TERM@180
        assert job.stdout.readline() == "drained\n" and job.wait(60) == 0
