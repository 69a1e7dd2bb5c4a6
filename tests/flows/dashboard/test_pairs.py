"""The pages of the training data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.dashboard.known import look
from flows.dashboard.pairs import NEWEST, pair_pages
from infra.store import open_store
from tests.flows.dashboard.html import Page
from tests.flows.dashboard.small_store import NOW
from tests.infra.chain import make
from tests.infra.small_pairs import commit, shards
from tests.tasks import small_run
from tests.tasks.small_run import NASTY


def test_pairs_are_shown_with_prompts_and_statistics(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    commit(store, shards([80, 48]))
    site = dict(pair_pages(look(store, NOW)))
    page = Page((site["pairs.html"] or b"").decode())
    pictures = [path for path in page.values("src") if path.endswith(".webp")]
    assert [*site] == [*pictures, "pairs.html"] and len(pictures) == 2
    assert 'prompt "0" 🐈' in page.text and "norm of the noise over √n" in page.text and "128 pairs" in page.text
    again = dict(pair_pages(look(store, NOW, frozenset(pictures))))
    assert again == site | dict.fromkeys(pictures), "what is there stays"


def test_rejected_pairs_are_shown_with_their_reasons(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    rows = [{"prompt": NASTY, "reason": "not_finite"}, *[{"prompt": "a", "reason": "constant"}] * 30]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "quarantine.parquet")
    small_run.commit(store, "pairs", {"quarantine.parquet": tmp_path / "quarantine.parquet"}, rows=5)
    source = (dict(pair_pages(look(store, NOW)))["pairs.html"] or b"").decode()
    page = Page(source)
    assert "31 pairs must not be trained on: 30 constant, 1 not finite" in page.text
    assert NASTY in page.text and NASTY not in source
    assert "The first shard cannot be read as pairs" in page.text


def test_the_newest_have_a_page(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for seed in range(NEWEST + 3):
        make(store, "pairs", {}, {"seed": seed})
    site = dict(pair_pages(look(store, NOW)))
    assert len(site) == NEWEST and f"newest {NEWEST} of {NEWEST + 3}" in Page((site["pairs.html"] or b"").decode()).text
