"""One small store for all tests of the dashboard, and its site; neither is changed by a test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.dashboard.known import Known, look
from flows.dashboard.site import files
from infra.artifact import Artifact
from infra.store import Store, open_store
from tests.flows.dashboard import small_store


@dataclass(frozen=True)
class Small:
    """The store, what is in it by a name, and what a dashboard knows of it."""

    store: Store
    made: Mapping[str, Artifact]
    known: Known


@pytest.fixture(scope="package")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("dashboard")
    store = open_store(folder / "store")
    made = small_store.fill(store, folder / "made")
    return Small(store, made, look(store, small_store.NOW))


@pytest.fixture(scope="package")
def pages(small: Small) -> Mapping[str, str]:
    """Every page of the site by its path."""
    return {path: data.decode() for path, data in files(small.known) if data and path.endswith(".html")}


@pytest.fixture
def out(tmp_path: Path) -> Store:
    return open_store(tmp_path / "site")
