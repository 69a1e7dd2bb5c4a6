"""An untrained teacher and flow, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.models import untrained


@pytest.fixture(scope="session")
def teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained.teacher_folder(tmp_path_factory.mktemp("untrained") / "teacher")


@pytest.fixture(scope="session")
def flow_folder(teacher_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained.flow_folder(teacher_folder, tmp_path_factory.mktemp("untrained") / "flow")
