"""The site of the small store; no test changes it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from flows.dashboard.site import files
from infra.store import Store, open_store
from tests.flows.observed.small_store import Small


@pytest.fixture(scope="package")
def pages(small: Small) -> Mapping[str, str]:
    """Every page of the site by its path."""
    return {path: data.decode() for path, data in files(small.known) if data and path.endswith(".html")}


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return open_store(tmp_path / "site")
