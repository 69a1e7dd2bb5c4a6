"""The whole site: its links resolve, it needs nothing but itself, and nobody's text is taken for markup."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Event

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.dashboard import artifacts, runs
from flows.dashboard.site import build, files
from flows.observed.known import Known, look
from flows.page_names import card_path
from infra.store import Store, open_store
from infra.store.local import LocalStore
from infra.upkeep.inventory import entries
from infra.upkeep.runs import write_run
from tests.flows.dashboard.html import Page
from tests.flows.observed.small_store import DAMAGED, NOW, Small, record
from tests.infra.chain import make, make_chain
from tests.s3 import BUCKET, S3Server

LARGEST_BYTES = 200_000


def test_every_link_leads_to_a_page_or_to_a_place_in_one(small: Small) -> None:
    assert not broken_links(site(small.known))


def site(known: Known) -> dict[str, bytes]:
    """The whole site, nothing of which is there yet."""
    return {path: data for path, data in files(known) if data is not None}


def broken_links(site: Mapping[str, bytes]) -> list[str]:
    """Links that lead to no file of the site, or to no place in its page."""
    pages = {path: Page(data.decode()) for path, data in site.items() if path.endswith(".html")}
    found = []
    for path, page in pages.items():
        for link in {*page.values("href"), *page.values("src")} - {"data:,"}:
            target, _, place = link.partition("#")
            to = posixpath.normpath(posixpath.join(posixpath.dirname(path), target)) if target else path
            if to not in site or (place and place not in pages[to].values("id")):
                found.append(f"{path}: {link}")
    return found


def test_every_page_is_reached_from_the_front_page(small: Small) -> None:
    pages = {path: Page(data.decode()) for path, data in site(small.known).items() if path.endswith(".html")}
    reached, waiting = set[str](), ["index.html"]
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        links = (link.partition("#")[0] for link in pages[path].values("href") if not link.startswith("data:"))
        to = (posixpath.normpath(posixpath.join(posixpath.dirname(path), link)) for link in links if link)
        waiting += [one for one in to if one in pages]
    assert reached == {*pages}


def test_pages_ask_nothing_of_others(small: Small) -> None:
    for path, data in site(small.known).items():
        text = data.decode(errors="ignore")
        assert not re.search(r"(src|href|action)\s*=\s*[\"']?(https?:)?//", text), path
        assert "@import" not in text and not re.search(r"url\((?!data:)", text), path


def test_nobodys_text_is_markup(pages: Mapping[str, str]) -> None:
    for path, source in pages.items():
        scripts = [attributes for tag, attributes in Page(source).tags if tag == "script"]
        assert [*map(len, scripts)] == [2] and "alert" not in str(scripts), path  # its own: src and defer
        assert "<b>shadow" not in source, path
    assert any("alert" in source for source in pages.values()), "it is shown as text"


def test_pages_have_what_a_screen_reader_needs(pages: Mapping[str, str]) -> None:
    for path, source in pages.items():
        page = Page(source)
        tags = [tag for tag, _ in page.tags]
        assert tags.count("h1") == 1 and tags.count("main") == 1, path
        assert tags.count("table") == tags.count("caption"), path
        assert all(attributes.get("scope") for tag, attributes in page.tags if tag == "th"), path
        assert all("alt" in attributes for tag, attributes in page.tags if tag == "img"), path
        assert all(attributes.get("aria-label") for tag, attributes in page.tags if tag == "svg"), path
        regions = [attributes for tag, attributes in page.tags if tag == "pre" or attributes.get("class") == "scroll"]
        assert all(one.get("tabindex") == "0" and one.get("role") == "region" for one in regions), path
        assert not re.search(r"<th[^>]*></th>", source), path
        ids = page.values("id")
        assert len(ids) == len({*ids}), path


def test_a_page_is_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (artifacts, runs):
        monkeypatch.setattr(room, "AT_ONCE", 20)
    store = open_store(tmp_path)
    source = make(store, "prompts", {})
    for number in range(50):
        make(store, "pairs", {"prompts": source}, {"seed": number})
        write_run(store, record(f"run-{number:04d}", f"recipe-{number}", [], hours=1, state="done", exit=0))
    found = site(look(store, NOW))
    assert {"artifacts.html", "artifacts~3.html", "runs~3.html"} <= found.keys() and "artifacts~4.html" not in found
    assert all(data.count(b"<tr>") <= 40 and len(data) < LARGEST_BYTES for data in found.values())
    assert "and 10 more" in found["runs.html"].decode(), "of the recipes"


def test_built_again_nothing_is_written(small: Small, out: Store) -> None:
    first, second = (build(small.store, out, NOW) for _ in range(2))
    assert first.changed == first.files > 30 and (second.changed, second.removed) == (0, 0)


def test_a_site_lies_on_s3_in_the_store_that_it_is_about(
    rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    store, out = (open_store(f"s3://{BUCKET}/dashboard{inside}") for inside in ("", "/site"))
    made = make_chain(store, tmp_path / "teacher")
    assert build(store, out, NOW).changed > 3 and build(store, out, NOW).changed == 0
    assert {entry.base for entry in entries(store)} == {one.base for one in made.values()}
    assert out.exists(card_path(made["pairs-1"].base)) and not broken_links(site(look(store, NOW)))


def test_the_command_builds_it_and_says_where(small: Small, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["dashboard", "--store", small.store.url, "--out", str(tmp_path / "site")])
    assert done.exit_code == 0 and f"{tmp_path}/site/index.html" in done.stdout
    assert (tmp_path / "site" / "index.html").read_bytes().startswith(b"<!DOCTYPE html>")


def test_what_is_damaged_is_shown_and_breaks_nothing(small: Small, pages: Mapping[str, str]) -> None:
    front, card = pages["index.html"], pages[card_path(DAMAGED)]
    assert f"{DAMAGED}/manifest.json" in front and "runs/2026-11-22T050000-torn.json" in front
    assert "damaged" in card and "no manifest of schema version 1" in card
    assert all(card_path(one.base) in pages for one in small.made.values())


def test_no_secret_of_the_environment_is_in_any_file(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("AWS_SECRET_ACCESS_KEY", "PREFECT_API_AUTH_STRING", "HF_TOKEN", "INSTAFLOW_DASHBOARD_AUTH")
    for name in names:
        monkeypatch.setenv(name, f"secret-{name}")
    for path, data in site(look(small.store, NOW)).items():
        assert b"secret-" not in data, path


class Busy(LocalStore):
    """A store in which something is gone between the listing and the reading of what it listed."""

    def sizes(self, prefix: str = "") -> dict[str, int]:
        found = super().sizes(prefix)
        for path in found:
            if path.startswith(("runs/", "pairs/")):
                self.delete(path)
        return found


def test_what_goes_while_it_is_read_is_left_out(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    pairs = make(store, "pairs", {"prompts": make(store, "prompts", {})})
    write_run(store, record("run-1", "mini", [], hours=1, state="done", exit=0))
    found = site(look(Busy(tmp_path), NOW))
    assert "runs/run-1.html" not in found and found.keys() > {"index.html", "artifacts.html"}
    assert "unfinished" in found[card_path(pairs.base)].decode(), "it was there when the store was listed"
    assert not broken_links(found)


def test_a_site_that_is_built_while_runs_write_is_whole(tmp_path: Path) -> None:
    store, is_over = open_store(tmp_path / "store"), Event()
    make(store, "prompts", {})

    def go_on() -> None:
        for number in count():
            write_run(store, record(f"run-{number % 50}", "mini", [], hours=1, state="done", exit=0))
            make(store, "pairs", {}, {"seed": number % 50})
            if is_over.is_set():
                return

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(go_on)
        try:
            for _ in range(5):
                assert not broken_links(site(look(store, NOW)))
        finally:
            is_over.set()
        writer.result()
