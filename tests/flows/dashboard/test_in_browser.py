"""The site as a person's browser shows it, from a static copy: whole, quiet, readable, and the same without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, Request

from flows.dashboard.serving import serving
from flows.dashboard.site import build
from flows.page_names import card_path
from infra.store import open_store
from tests.browser import PATIENCE_MS, chromium
from tests.flows.observed.small_store import DAMAGED, IN_TRAINING, NOW, UNFINISHED, Small, train
from tests.screens import SIZES, shoot

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
KINDS = (
    "now", "runs", "run", "run that failed", "comparison", "models", "artifacts", "card", "card of what is damaged",
    "card of what is unfinished", "cost", "pairs",
)  # fmt: skip
RESOLVED = "all => all.map(one => new URL(one.getAttribute('href'), document.baseURI).href)"
"""Where links lead, those within pictures, too."""
pytestmark = pytest.mark.slow


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, as any server of static files gives them."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def site(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A static copy of the site."""
    folder = tmp_path_factory.mktemp("site")
    build(small.store, open_store(folder), NOW)
    return folder


@pytest.fixture(scope="module")
def root(site: Path) -> Iterator[str]:
    """Where a server of static files gives it, with the last slash."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def paths(small: Small) -> Mapping[str, str]:
    """A page of each kind."""
    runs = [f"2026-11-22T0{number}0000-{letter * 6}" for number, letter in ((1, "a"), (2, "b"), (3, "c"))]
    rooms = {name: f"{name}.html" for name in ("runs", "models", "artifacts", "cost", "pairs")}
    return rooms | {
        "now": "index.html",
        "run": f"runs/{runs[1]}.html",
        "run that failed": f"runs/{runs[2]}.html",
        "comparison": f"compare/{runs[0]}--{runs[1]}.html",
        "card": card_path(small.made["distill again"].base),
        "card of what is damaged": card_path(DAMAGED),
        "card of what is unfinished": card_path(UNFINISHED),
    }


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(browser: Browser) -> Page:
    return new_page(browser)


def new_page(browser: Browser, **told: object) -> Page:
    page = browser.new_page(viewport=WIDE, **told)
    page.set_default_timeout(PATIENCE_MS)
    return page


@dataclass
class Visits:
    """What was seen in one visit to every page, on a phone."""

    amiss: list[str] = field(default_factory=list)
    """What the console said, scripts threw, and no server answered well."""
    asked: set[str] = field(default_factory=set)
    """URLs of all that was asked for."""
    too_wide: dict[str, int] = field(default_factory=dict)
    """Pixels that a page goes beyond the screen."""
    links: dict[str, str] = field(default_factory=dict)
    """URL of every link, with a page that it stands on."""


@pytest.fixture(scope="module")
def visits(browser: Browser, root: str, site: Path) -> Visits:
    found, page = Visits(), new_page(browser)
    page.set_viewport_size(NARROW)
    page.on("console", lambda told: found.amiss.append(told.text) if told.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.amiss.append(str(error)))
    page.on("request", lambda asked: found.asked.add(asked.url))
    page.on(
        "requestfailed", lambda asked: found.amiss.append(f"{asked.url} {asked.failure}") if _is_lost(asked) else None
    )
    page.on("response", lambda got: found.amiss.append(f"{got.url} {got.status}") if got.status >= 400 else None)
    for path in sorted(str(one.relative_to(site)) for one in site.rglob("*.html")):
        page.goto(root + path)
        if beyond := page.evaluate("document.documentElement.scrollWidth - innerWidth"):
            found.too_wide[path] = beyond
        for link in page.eval_on_selector_all("a", RESOLVED):
            found.links.setdefault(link, path)
    page.close()
    return found


def _is_lost(asked: Request) -> bool:
    """Whether it is not the page's own look whether it has changed, which ends with the page."""
    return asked.method != "HEAD"


def test_no_page_has_an_error(visits: Visits) -> None:
    assert not visits.amiss


def test_pages_ask_for_nothing_beyond_the_site(visits: Visits, root: str) -> None:
    assert len(visits.asked) > 60
    assert not [url for url in visits.asked if not url.startswith((root, "data:"))]


def test_no_page_is_wider_than_a_phone(visits: Visits) -> None:
    assert not visits.too_wide


def test_every_link_leads_somewhere(visits: Visits, page: Page, root: str) -> None:
    targets = {link.partition("#")[0]: where for link, where in visits.links.items()}
    assert len(targets) > 60 and all(target.startswith(root) for target in targets)
    answers = {target: page.request.head(target).status for target in targets}
    assert not {target: targets[target] for target, status in answers.items() if status != 200}


def serious(page: Page) -> set[str]:
    """What axe finds that keeps somebody from reading the page."""
    found = Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    return {f"{one['id']}: {node['html'][:200]}" for one in bad for node in one["nodes"]}


@pytest.mark.parametrize("kind", KINDS)
def test_axe_finds_nothing_serious(kind: str, page: Page, root: str, paths: Mapping[str, str]) -> None:
    found = set[str]()
    page.goto(root + paths[kind])
    page.eval_on_selector_all("details", "all => all.forEach(one => one.open = true)")
    for scheme in ("light", "dark"):
        for size in (WIDE, NARROW):
            page.emulate_media(color_scheme=scheme)
            page.set_viewport_size(size)
            found |= {f"{scheme}, {size['width']}: {one}" for one in serious(page)}
    assert not found


@pytest.mark.parametrize("kind", KINDS)
def test_without_scripts_all_is_there(
    kind: str, browser: Browser, page: Page, root: str, paths: Mapping[str, str]
) -> None:
    bare = new_page(browser, java_script_enabled=False)
    texts = []
    for one in (bare, page):
        one.goto(root + paths[kind])
        texts.append(one.locator("main").text_content().replace("Show rows with ", ""))
    assert texts[0] == texts[1] and len(texts[0]) > 100
    assert bare.locator("button, input").count() == 0, "none that does nothing"
    bare.close()


def test_a_training_under_way_fits_a_phone(page: Page, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    train(store, f"{IN_TRAINING}/checkpoints/phase-0-l2")
    build(store, open_store(tmp_path / "site"), NOW)
    for size in (NARROW, WIDE):
        page.set_viewport_size(size)
        page.goto((tmp_path / "site" / "index.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0
        assert page.locator(".stage .panels svg").first.bounding_box()["width"] < 700, "as small as on other pages"
    assert not serious(page)


def test_scripts_sort_and_filter(page: Page, root: str) -> None:
    page.goto(f"{root}artifacts.html")
    table = page.locator("table[data-sortable]")
    rows = table.locator("tbody tr")
    before = rows.count()
    table.get_by_role("button", name="size").click()
    column = table.locator("thead th").evaluate_all("all => all.findIndex(one => one.ariaSort === 'ascending')")
    sizes = rows.evaluate_all("(all, column) => all.map(one => +one.cells[column].dataset.value)", column)
    assert len(sizes) == before and sizes == sorted(sizes) and len({*sizes}) > 3
    page.get_by_label("Show rows with").fill("distill")
    assert 0 < rows.locator("visible=true").count() < before


def test_it_opens_from_a_folder(browser: Browser, site: Path) -> None:
    page, amiss = new_page(browser), list[str]()
    page.on("console", lambda told: amiss.append(told.text) if told.type == "error" else None)
    page.goto(site.joinpath("runs.html").as_uri())
    assert not amiss and page.get_by_role("button").count() > 3
    page.get_by_role("link", name="Models", exact=True).click()
    page.wait_for_url("**/models.html")
    assert page.locator("img").first.evaluate("one => one.decode().then(() => one.naturalWidth)") > 0
    page.close()


def test_pages_are_photographed_for_the_docs(browser: Browser, site: Path, tmp_path: Path) -> None:
    taken = [*shoot(browser, site, {"now": "index.html"}, tmp_path / "images")]
    assert [Image.open(path).size for path in taken] == [*SIZES.values()]


def test_a_served_dashboard_compares_any_two_runs(browser: Browser, small: Small) -> None:
    oldest, newest = [*small.known.runs][-1], [*small.known.runs][0]
    with serving(small.store, 0, "somebody:a password") as url:
        page = new_page(browser, http_credentials={"username": "somebody", "password": "a password"})
        page.goto(f"{url}runs.html")
        page.get_by_label("Compare", exact=True).fill(newest)
        page.get_by_label("with", exact=True).fill(oldest)
        assert not serious(page)
        page.get_by_role("button", name="Side by side").click()
        page.wait_for_url("**/compare?*")
        assert page.locator("h1").inner_text() == "Two runs side by side"
        assert page.locator("main a").all_inner_texts() == [oldest[:60], newest[:60]]
        assert not serious(page)
        page.close()
