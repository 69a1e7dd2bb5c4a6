"""Debian's Chromium, driven by Playwright; where it is not installed a test is skipped, with that reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

PATIENCE_MS = 120_000
"""How long a busy machine may take for anything that a page is asked."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A new browser without a page."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # root has no sandbox; it opens pages of ours alone
        process = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=PATIENCE_MS)
        try:
            yield process
        finally:
            process.close()


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """An empty page of a new browser."""
    with chromium() as process:
        page = process.new_page(viewport={"width": width, "height": height})
        page.set_default_timeout(PATIENCE_MS)
        yield page
