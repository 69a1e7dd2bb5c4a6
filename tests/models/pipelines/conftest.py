"""The untrained teacher and flow, opened; those of a module's `family`, saved and opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage
from tests.models.pipelines.families import Family


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TextToImage:
    return open_pipeline(teacher_folder)


@pytest.fixture(scope="module")
def flow(flow_folder: Path) -> TextToImage:
    return open_pipeline(flow_folder)


@pytest.fixture(scope="module")
def folder(family: Family, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return family.save(tmp_path_factory.mktemp("family") / "teacher")


@pytest.fixture(scope="module")
def model(folder: Path) -> TextToImage:
    return open_pipeline(folder)


@pytest.fixture(scope="module")
def exported(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights saved as a raw flow."""
    flow, saved = open_pipeline(folder), tmp_path_factory.mktemp("family") / "flow"
    flow.parameterization = "raw"
    flow.save(saved)
    return saved
