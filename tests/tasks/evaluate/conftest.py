"""What an evaluation looks at pictures with."""

from __future__ import annotations

import pytest

from infra.artifact import Folder
from models.clip import load_clip
from models.mini.reader import load_reader
from tasks.evaluate.statistics import Judges


@pytest.fixture(scope="session")
def judges(clip: Folder) -> Judges:
    """An untrained CLIP and attribute reader."""
    network = load_clip(str(clip.path), None)
    return Judges(network, "", {"features": network.image_features}, load_reader(clip.path))
