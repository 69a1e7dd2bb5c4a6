"""What the report is made of, without running the chain."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Artifact, Source
from infra.store import Store
from tests.tasks import small_run


@pytest.fixture
def inputs(store: Store, tmp_path: Path) -> dict[str, Source]:
    return small_run.run(store, tmp_path / "made", [small_run.NASTY])


@pytest.fixture
def evaluation(inputs: dict[str, Source]) -> Artifact:
    found = inputs["evaluate"]
    assert isinstance(found, Artifact)
    return found
