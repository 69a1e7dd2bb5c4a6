"""The store that the code of before wrote, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.golden.recorded import HERE


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `store`, `teacher` and `golden.yaml`, which is also the working directory."""
    with tarfile.open(HERE / "store.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path
