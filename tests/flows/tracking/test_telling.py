"""The command, and what it says where it cannot tell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.tracking.telling import tell
from infra.errors import UserError
from tests import ROOT
from tests.flows.observed.small_store import NOW, Small


def test_the_command_tells_and_told_again_finds_it_told(small: Small, tmp_path: Path) -> None:
    for new in (6, 0):
        run = subprocess.run(
            [sys.executable, "-m", "flows.cli", "track", "tensorboard", str(tmp_path), "--store", small.store.url],
            env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (run.returncode, run.stdout) == (0, f"{tmp_path}: 6 runs, {new} of them new\n"), run.stderr


def test_a_folder_that_cannot_be_written_is_named(small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file/below: cannot write here: Not a directory. Name a folder"):
        tell(small.store, "tensorboard", str(tmp_path / "file" / "below"), NOW)
