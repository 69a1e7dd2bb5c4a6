"""What only reads manifests, recipes and tables stays light."""

from __future__ import annotations

import subprocess
import sys

from tests import ROOT

HEAVY = {"torch", "diffusers", "transformers", "prefect", "numpy", "pyarrow", "s3fs", "fsspec"}
READS_PAIRS = {"infra.pairs", "infra.shards.index", "infra.shards.maps", "infra.shards.shards"}
LIGHT = [
    "tasks.stages",
    "tasks.sections",
    "tasks.roles",
    "tasks.claims",
    "tasks.evaluate.cells",
    "tasks.evaluate.metrics",
    "tasks.evaluate.measured",
    "tasks.evaluate.verdicts",
    "flows.algorithms.instaflow",
    "flows.recipes",
    "flows.run.planner",
]


def infra() -> list[str]:
    """Every module of infra/ but those that read pairs."""
    files = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "infra").rglob("*.py"))
    return sorted({".".join(file.parts).removesuffix(".__init__") for file in files} - READS_PAIRS)


def test_no_heavy_import() -> None:
    """One after the other in one process: whichever brings a heavy one is the first to have it."""
    code = f"""
import importlib, sys
for module in {[*infra(), *LIGHT]!r}:
    importlib.import_module(module)
    assert not (found := {HEAVY!r} & sys.modules.keys()), f"{{module}} imports {{found}}"
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
