"""The page that says where things are added is true: its additions are applied to a copy of the tree and run there."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from typing import Any

import pytest

from tests import ROOT
from tests.docs.additions import apply

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the chain made in a copy of the tree with a loss, a metric, a stage and a family of teachers more."""
    copy = tmp_path_factory.mktemp("copy")
    for folder in ("flows", "tasks", "models", "infra", "tests", "docs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = apply(PAGE, copy)
    assert len(changed) == 12
    with tarfile.open(ROOT / "tests" / "golden" / "store.tar.gz") as archive:
        archive.extractall(copy, filter="data")
    command = [sys.executable, "-m", "tests.docs.additions"]
    environment = os.environ | {"PYTHONPATH": str(copy)}
    run = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
def test_the_loss_trains(told: dict[str, Any]) -> None:
    assert told["loss"] == "l1"


def test_the_metric_is_in_every_table(told: dict[str, Any]) -> None:
    assert told["page"] and told["docs"] and "brightness" in told["table"]
    assert all(0 < value < 1 for value in told["brightness"])
    assert len(set(told["brightness"])) > 2, "another number for other pictures"


def test_the_stage_is_planned_done_and_deployable(told: dict[str, Any]) -> None:
    assert told["planned"]["vocabulary"] == "run 1 units" and told["flow"]
    assert told["words"]["a"] > 1 and min(told["words"].values()) >= 2


def test_the_family_goes_through_every_stage_and_back_to_stock_diffusers(told: dict[str, Any]) -> None:
    assert told["family"]["classes"] == ["AuraFlow"] * 3
    assert told["family"]["stages"] == ["world", "prompts", "vocabulary", "pairs-1", "reflow-1", "pairs-student",
                                        "distill", "real", "evaluate", "report"]  # fmt: skip
    assert told["family"]["gaps"] == pytest.approx([0, 0], abs=1e-4), "in units of the pictures' own scale"


def test_every_place_it_names_is_there() -> None:
    places = set(re.findall(r"`((?:flows|tasks|models|infra|tests)/[\w/.]*)`", PAGE))
    assert len(places) > 15
    for place in places:
        assert (ROOT / place).exists(), place
