"""The store that the code of before wrote, unpacked; and whether this machine can make its bits."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden.arithmetic import arithmetic

HERE = Path(__file__).parent


def golden(name: str) -> Any:
    """The recorded values of that name."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with `store`, `teacher` and `golden.yaml`, which is also the working directory."""
    with tarfile.open(HERE / "store.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def same_bits() -> None:
    """Skips where the arithmetic is another than that of the machine which made the golden digests."""
    recorded = golden("arithmetic")
    if torch.cuda.is_available() or arithmetic() != recorded["hash"]:
        pytest.skip(f"digests of floats were made with {recorded['made_with']}; this machine rounds otherwise")
