"""`python -m tests.screens [FOLDER]`: the pictures of docs/dashboards.md, of a dashboard over runs of the recipe tiny.

The runs are made in FOLDER/store, those that are there already from what they left: a few minutes. One goes on while
the site is built.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page

from flows.dashboard.live import live
from flows.dashboard.site import build
from flows.observed.known import Known, look
from flows.page_names import card_path, run_path
from infra.artifact import Artifact
from infra.store import Store, open_store
from infra.upkeep.naming import give_name
from tests import ROOT
from tests.browser import PATIENCE_MS, chromium

IMAGES = ROOT / "docs" / "images"
SIZES = {"wide": (1280, 960), "narrow": (390, 844)}
"""Of the window, in pixels, by the end of a picture's name."""
LARGEST_BYTES = 150_000
RUNS: Sequence[Sequence[str]] = (
    ("reflow.phases=[{steps: 60, batch_size: 16}]",),
    ("reflow.phases=[{steps: 60, batch_size: 16}]", "reflow.loss=huber"),
    ("name=tiny-strict", "pairs.max_abs_latent=6.5"),
    ("name=tiny-broken", "pairs.max_abs_latent=0.001"),
)
"""What each run is told: one as it is, one with another loss, one that rejects pairs, one that rejects them all."""
GOES_ON = ("name=tiny-long", "reflow.phases=[{steps: 20000, batch_size: 16}]", "reflow.evaluate_every_steps=100")
PATIENCE_S = 600.0


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "instaflow")
    store = open_store(folder / "store")
    for told in RUNS:
        with run(store, told) as process:
            process.wait()
    student = next(
        one.artifact for one in look(store, datetime.now(UTC)).seen.runs[-1].stages if one.stage == "distill"
    )
    give_name(Artifact.find(store, student), "tiny-v1", move=True)
    with run(store, GOES_ON) as process:
        try:
            known = until_it_runs(store)
            build(store, open_store(folder / "site"), known.seen.now)
        finally:
            process.terminate()
    with chromium() as browser:
        for path in shoot(browser, folder / "site", places(known), IMAGES):
            print(path.relative_to(ROOT), f"{path.stat().st_size:,} bytes")


@contextmanager
def run(store: Store, told: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A run of tiny with these overrides, by somebody."""
    settings = [part for one in told for part in ("--set", one)]
    command = [sys.executable, "-m", "flows.cli", "run", "tiny", "--store", store.url, *settings]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "LOGNAME": "alex"}) as process:
        yield process


def until_it_runs(store: Store) -> Known:
    """What there is to know once a training is under way and has shown itself. Raises TimeoutError."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        known = look(store, datetime.now(UTC))
        running = [stage for run in known.runs.values() if run.state == "running" for stage in run.record.stages]
        shown = [one for stage in running if stage.units for one in live(known, stage.artifact)]
        if any(one.picture and one.figures for one in shown):
            return known
        time.sleep(5)
    raise TimeoutError(f"{store.url}: no training began within {PATIENCE_S:g} s")


def places(known: Known) -> dict[str, str]:
    """The pages of which there are pictures, by a short name."""
    done = [run for run in known.runs.values() if run.state == "done"]
    tiny = [run for run in done if run.record.recipe == "tiny"]
    strict = next(run for run in done if run.record.recipe == "tiny-strict").record
    base = {stage.stage: stage.artifact for stage in strict.stages}
    pairs = sorted(
        (one for one in known.seen.artifacts.values() if one.stage == "pairs"), key=lambda one: one.manifest.finished_at
    )[::-1]
    newest = [one.base for one in pairs].index(base["pairs-1"])
    return {
        "now": "index.html",
        "runs": "runs.html",
        "run": run_path(tiny[0].record.run_id),
        "models": "models.html",
        "card": card_path(base["pairs-student"]),
        "cost": "cost.html",
        "pairs": f"pairs-of-{pairs[newest].fingerprint[:16]}.html" if newest else "pairs.html",
    }


def shoot(browser: Browser, site: Path, places: Mapping[str, str], out: Path) -> Iterator[Path]:
    """Pictures of pages, as far as a window shows them, at each size."""
    out.mkdir(exist_ok=True)
    for end, (width, height) in SIZES.items():
        page = browser.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        for name, path in places.items():
            page.goto(site.joinpath(path).as_uri())
            yield _picture(page, out / f"{name}-{end}.webp")
        page.close()


def _picture(page: Page, path: Path) -> Path:
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, "WEBP", quality=72, method=6)
    assert path.stat().st_size < LARGEST_BYTES, path
    return path


if __name__ == "__main__":
    main()
