"""The untrained teacher and flow, opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.pipelines.opening import open_pipeline
from models.pipelines.text_to_image import TextToImage


@pytest.fixture(scope="module")
def teacher(teacher_folder: Path) -> TextToImage:
    return open_pipeline(teacher_folder)


@pytest.fixture(scope="module")
def flow(flow_folder: Path) -> TextToImage:
    return open_pipeline(flow_folder)
