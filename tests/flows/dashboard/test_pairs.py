"""The pages of the training data."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from flows.dashboard.pairs import NEWEST, pair_pages
from flows.observed.known import look
from infra.shards.shards import QuarantineRow
from infra.store import open_store
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import NOW
from tests.infra.chain import make
from tests.infra.small_pairs import commit, picture, shards
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


def test_what_the_stage_drew_is_shown_and_what_it_rejected(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    bad = [QuarantineRow(n, f"{n:09d}", f"prompt {n}", n, "constant") for n in range(3)]
    made = commit(store, shards([8]), bad)
    site = dict(pair_pages(look(store, NOW)))
    page = Page((site["pairs.html"] or b"").decode())
    pictures = [path for path in page.values("src") if path.endswith(".webp")]
    assert {*site} == {*pictures, "pairs.html"} and len(pictures) == 4
    assert [site[path] for path in pictures[2:]] == [picture("teal", 3), picture("maroon", 3)], "as they were left"
    assert "drawn by the teacher’s own decoder" in page.text and "constant: prompt 2" in page.text
    assert dict(pair_pages(look(store, NOW, frozenset(pictures)))) == site | dict.fromkeys(pictures)
    for name in ("shard-000000.webp", "shard-000000.quarantine.webp"):
        store.write(f"{made.base}/{made.record(name).path}", b"another")
    (path, *others) = [*dict(pair_pages(look(store, NOW)))]
    assert path == pictures[0] and others == [pictures[1], "pairs.html"], "what is damaged is not shown"


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
