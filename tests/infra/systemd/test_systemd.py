"""The units are what systemd takes, and stop a worker in the order in which it drains."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

UNITS = sorted((ROOT / "infra" / "systemd").glob("*.service"))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze (Debian: systemd)")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    """With the programs where they are here; a template as its instance for the pool gpu."""
    here = tmp_path / unit.name.replace("@", "@gpu")
    here.write_text(unit.read_text().replace("/opt/instaflow/bin", str(Path(sys.executable).parent)))
    run = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in run.stderr.splitlines() if unit.name.partition(".")[0].rstrip("@") in line]
    assert run.returncode == 0 and not ours, run.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_the_main_process_alone_is_told_to_stop(unit: Path) -> None:
    told = configparser.ConfigParser(strict=False, interpolation=None)
    told.optionxform = str  # type: ignore[assignment,method-assign]
    told.read(unit)
    service = told["Service"]
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM") and int(service["TimeoutStopSec"]) >= 30
    assert service["User"] == "instaflow" and service["EnvironmentFile"].lstrip("-").startswith("/etc/instaflow/")
    assert "PASSWORD" not in service.get("Environment", "") and "AUTH" not in service.get("Environment", "")
