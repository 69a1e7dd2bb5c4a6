"""Debian's Chromium, driven by Playwright; where it is not installed a test is skipped, with that reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, sync_playwright


@contextmanager
def browser(width: int = 1280, height: int = 900) -> Iterator[Page]:
    """An empty page of a new browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # root has no sandbox; it opens pages of ours alone
        process = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            page = process.new_page(viewport={"width": width, "height": height})
            page.set_default_timeout(120_000)  # of a busy machine
            yield page
        finally:
            process.close()
