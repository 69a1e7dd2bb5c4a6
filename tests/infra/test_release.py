"""Two machines run the same when their releases are the same."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.release import PACKAGE, release
from tests import ROOT


def test_it_is_the_version_and_what_the_files_say(tmp_path: Path) -> None:
    for folder in ("flows", "tasks", "models", "infra"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "weights"))
    assert _release_of(tmp_path) == release(), "wherever it lies"
    assert release().startswith(f"{importlib.metadata.version(PACKAGE)}+")
    (tmp_path / "infra" / "docker" / "notes.txt").write_text("no code")
    assert _release_of(tmp_path) == release()
    for changed in ("models/losses.py", "flows/recipes/tiny.yaml"):
        before = _release_of(tmp_path)
        with (tmp_path / changed).open("a") as file:
            file.write("# more\n")
        assert _release_of(tmp_path) != before, changed


def _release_of(folder: Path) -> str:
    code = "from infra.release import release; print(release())"
    environment = os.environ | {"PYTHONPATH": str(folder)}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return run.stdout.strip()
