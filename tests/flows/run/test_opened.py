"""What a run has opened it does not read again, until it may have been replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.run import opened
from infra.artifact import MANIFEST, Artifact
from infra.artifact.redo import redo_all
from infra.store.local import LocalStore
from tasks.progress import silent
from tasks.sections import Performance, World
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.flows.small_stages import small
from tests.infra.chain import make

STAGE = small(STAGES["world"])


class Counting(LocalStore):
    """A store that counts how often it is asked, by the kind of request."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.reads = self.lists = 0

    def read(self, path: str) -> bytes:
        self.reads += 1
        return super().read(path)

    def sizes(self, prefix: str = "") -> dict[str, int]:
        self.lists += 1
        return super().sizes(prefix)


@pytest.fixture
def store(tmp_path: Path) -> Counting:
    return Counting(tmp_path / "store")


def _world(store: Counting) -> Artifact:
    made = run_stage(STAGE, World(), {}, store, Performance(), silent)
    store.reads = store.lists = 0
    return made


def _cached(store: Counting) -> Artifact | None:
    return opened.cached(STAGE, World(), {}, store)


def test_a_manifest_is_read_once_by_whatever_name(store: Counting) -> None:
    made = make(store, "pairs", {})
    store.reads = 0
    with opened.remembering(), opened.remembering():
        for ref in (made.base, made.uri, made.base):
            assert opened.find(store, ref).digest == made.digest
        assert store.reads == 1
        opened.forget(made.uri)
        assert opened.find(store, f"pairs/{made.fingerprint[:6]}").digest == made.digest and store.reads == 2
    for reads in (3, 4):
        assert opened.find(store, made.base).digest == made.digest and store.reads == reads, "a worker lives for weeks"


def test_what_is_cached_is_looked_at_each_time_until_it_was_taken(store: Counting) -> None:
    made = _world(store)
    with opened.remembering():
        for lists in (1, 2):
            assert _cached(store) is not None and (store.reads, store.lists) == (1, lists)
        opened.take([made])
        assert _cached(store) is made and (store.reads, store.lists) == (1, 2)
        opened.take([])
        assert _cached(store) is not None and (store.reads, store.lists) == (2, 3)


@pytest.mark.parametrize("gone", ["manifest", "file"])
def test_what_is_gone_since_it_was_opened_is_not_cached(store: Counting, gone: str) -> None:
    made = _world(store)
    with opened.remembering():
        assert _cached(store) is not None
        store.delete(f"{made.base}/{MANIFEST if gone == 'manifest' else made.files()[0].path}")
        assert _cached(store) is None
        again = opened.remember(_world(store))
        assert _cached(store) is again and again.digest == made.digest


def test_what_is_to_be_made_again_is_forgotten(store: Counting) -> None:
    made = _world(store)
    with opened.remembering():
        opened.take([made])
        redo_all(store, made.base)
        opened.forget(made.uri)
        assert _cached(store) is None
