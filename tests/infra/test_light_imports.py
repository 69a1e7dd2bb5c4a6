"""What only reads manifests stays light."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = [
    "errors",
    "recipe",
    "fingerprint",
    "manifest",
    "artifact",
    "store",
    "runs",
    "redo",
    "inventory",
    "verify",
    "sweep",
    "transfer",
    "extends",
    "environment",
    "checkpoint",
    "stopping",
]
HEAVY = {"torch", "diffusers", "transformers", "prefect", "numpy", "pyarrow", "s3fs", "fsspec"}


@pytest.mark.parametrize("module", LIGHT)
def test_no_heavy_import(module: str) -> None:
    code = f"import sys, infra.{module}; print(*sys.modules)"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert HEAVY & {*run.stdout.split()} == set()
