"""A training under way shows its loss and its drawings, and nothing breaks where they are damaged."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.dashboard.live import live
from flows.dashboard.now import now_page
from flows.observed.known import look
from infra.store import Store, open_store
from tasks.stages import CURVE_FILE, GLANCE_FILE, GLANCES_FILE
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import IN_TRAINING, NOW, glance, table_bytes, train

BASE = IN_TRAINING
FOLDERS = (f"{BASE}/checkpoints/phase-0-l2", f"{BASE}/redo/0123abcd/checkpoints/phase-1-l2")


@pytest.fixture(params=FOLDERS)
def training(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A store in which a reflow is under way."""
    store = open_store(tmp_path)
    train(store, request.param)
    return store


def test_what_a_training_shows_of_itself_stands_on_the_front_page(training: Store) -> None:
    found = dict(now_page(look(training, NOW)))
    (picture,) = (path for path in found if path != "index.html")
    assert found[picture] == glance()
    page = Page((found["index.html"] or b"").decode())
    assert "loss: 0.25 at step 75" in page.text and "0.125 at step 60" in page.text
    assert [one["src"] for tag, one in page.tags if tag == "img"] == [picture]
    assert len([tag for tag, _ in page.tags if tag == "polyline"]) == 2


def test_a_picture_that_is_there_is_not_written_again(training: Store) -> None:
    (picture,) = (path for path, _ in now_page(look(training, NOW)) if path != "index.html")
    assert dict(now_page(look(training, NOW, frozenset([picture]))))[picture] is None


@pytest.mark.parametrize(
    "content", [b"", b"torn", b"RIFF....WEB", table_bytes(step=[1.0]), table_bytes(step=[1], loss=[1])]
)
@pytest.mark.parametrize("name", [CURVE_FILE, GLANCES_FILE, GLANCE_FILE])
def test_what_is_damaged_is_not_shown(name: str, content: bytes, training: Store) -> None:
    (path,) = (path for path in training.list(BASE) if path.endswith(f"/{name}"))
    training.write(path, content)
    (found,) = live(look(training, NOW), BASE)
    assert len(found.figures) == (2 if name == GLANCE_FILE else 1)
    assert (found.picture is None) == (name == GLANCE_FILE)


def test_a_training_that_shows_nothing_yet_has_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.write(f"{BASE}/checkpoints/phase-0-l2/step-00000010.json", b"{}")
    assert live(look(store, NOW), BASE) == []
