"""Threads that wait spin briefly and then sleep, unless the user says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests import ROOT

ENTRIES = ["flows.cli.app", "flows.stage_flows", "flows.pipeline", "tasks.train.fit", "tests.benchmarks.machine"]
SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def spins_before_torch(entry: str, **settings: str) -> str:
    """What OpenMP finds when torch is imported by way of `entry`: the number of spins at that moment."""
    code = f"""
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("GOMP_SPINCOUNT", "unset"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
import {entry}, torch
"""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, cwd=ROOT, env=inherited | settings, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_point_sets_it_before_torch_is_imported(entry: str) -> None:
    assert 0 < int(spins_before_torch(entry)) < 300_000


@pytest.mark.parametrize(
    ("setting", "spins"), [({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "unset")]
)
def test_a_users_own_setting_wins(setting: dict[str, str], spins: str) -> None:
    assert spins_before_torch("flows.cli.app", **setting) == spins
