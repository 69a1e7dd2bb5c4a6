"""The pages of the artifacts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.dashboard.artifacts import NAMES, artifact_pages
from flows.observed.known import look
from flows.page_names import card_path
from infra.artifact import Artifact
from infra.artifact.names import NameRecord, Naming, name_path
from infra.store import open_store
from infra.upkeep.naming import give_name
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import CALLED, LONG, NOW, UNFINISHED, Small
from tests.infra.chain import make
from tests.tasks.small_run import NASTY


def test_a_card_tells_all_of_an_artifact(pages: Mapping[str, str], small: Small) -> None:
    artifact = small.made["distill again"]
    page = Page(pages[card_path(artifact.base)])
    for told in ("Fields that differ", "seed", "Wanted by", artifact.digest, artifact.fingerprint, "curve.parquet"):
        assert told in page.text, told
    assert {f"../../{card_path(small.made[one].base)}" for one in ("reflow-1", "pairs-student", "evaluate again")} <= {
        *page.values("href")
    }


def test_how_it_stands_is_told(pages: Mapping[str, str], small: Small) -> None:
    marked = Page(pages[card_path(small.made["pairs-1"].base)]).text
    assert "to be redone" in marked and "data/shard-000000.tar is damaged" in marked
    assert "pinned" in Page(pages[card_path(small.made["distill"].base)]).text
    assert "unfinished" in Page(pages[card_path(UNFINISHED)]).text
    assert {"artifacts-of-pairs.html", "artifacts-that-are-damaged.html"} <= pages.keys()


def test_a_card_says_what_it_is_called_and_what_it_was_called(pages: Mapping[str, str], small: Small) -> None:
    before, now = (small.made[name] for name in ("distill", "distill again"))
    assert f"Was called {CALLED}, which is {now.base[:16]} {CALLED} since" in Page(pages[card_path(before.base)]).text
    text = Page(pages[card_path(now.base)]).text
    assert f"{CALLED} since" in text and f"better {NASTY}" in text and "redone since" not in text
    assert CALLED in Page(pages["models.html"]).text and CALLED in Page(pages["artifacts.html"]).text


def test_a_name_given_to_other_content_says_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    old = Naming(artifact=artifact.base, digest="0" * 64, since=NOW.isoformat())
    store.write(name_path("v1"), NameRecord(history=[old]).to_bytes())
    (card,) = (data for path, data in artifact_pages(look(store, NOW)) if path == card_path(artifact.base))
    assert "redone since It was 000000000000 when it was named" in Page(card.decode()).text


def test_what_is_damaged_is_not_called_redone(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    give_name(artifact, "v1")
    store.write(f"{artifact.base}/manifest.json", b"{")
    (card,) = (data for path, data in artifact_pages(look(store, NOW)) if path == card_path(artifact.base))
    assert "v1 since" in (text := Page(card.decode()).text) and "redone since" not in text


def test_of_many_names_a_card_shows_some_and_says_how_many_more(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    artifact = make(store, "pairs", {})
    for number in range(NAMES + 3):
        give_name(artifact, f"nightly-{number:03d}-{LONG}"[:80])
    store.write("names/abcdef.json", store.read(f"names/{f'nightly-000-{LONG}'[:80]}.json"))
    known = look(store, NOW)
    pages = {path: Page(data.decode()).text for path, data in artifact_pages(known)}
    assert "abcdef" not in known.seen.named[artifact.base], "the digits of a fingerprint are no name"
    assert "And 3 more names." in pages[card_path(artifact.base)]
    line = pages["artifacts.html"]
    assert line.count("nightly-") == 2 and f"… +{NAMES + 1}" in line


def test_the_card_of_pairs_leads_to_their_pictures(pages: Mapping[str, str], small: Small) -> None:
    card = pages[card_path(small.made["drawn"].base)]
    found = re.search(r'<a href="../../(pairs[^"]*)">What they look like', card)
    assert found and small.made["drawn"].base in pages[found[1]]
    assert "What they look like" not in pages[card_path(small.made["distill"].base)]


def test_a_card_says_when_every_byte_was_last_read(pages: Mapping[str, str], small: Small) -> None:
    texts = {name: Page(pages[card_path(small.made[name].base)]).text for name in ("reflow-1", "direct", "distill")}
    assert "every byte was read again and found right on 2" in texts["reflow-1"]
    assert all("none was read again since" in texts[name] for name in ("direct", "distill"))


@pytest.mark.parametrize("name", ["pairs-1", "distill again"])
def test_the_commands_and_the_lines_of_python_do_it(name: str, pages: Mapping[str, str], small: Small) -> None:
    page = Page(pages[card_path(small.made[name].base)]).text
    commands = [line for line in page.splitlines() if line.startswith("instaflow artifacts show")]
    (command,) = commands
    assert CliRunner().invoke(app, shlex.split(command)[1:]).exit_code == 0
    if name != "pairs-1":
        start = page.index("from infra.artifact")
        told: dict[str, object] = {}
        exec(page[start : page.index("\n", page.index("found =", start))], told)
        found = told["found"]
        assert isinstance(found, Artifact) and found.digest == small.made[name].digest
