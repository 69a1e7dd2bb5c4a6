"""A folder in which Prefect finds no room for its second UI; that the server takes it so is in test_local.py."""

from __future__ import annotations

import os
from pathlib import Path

from flows.server.pages import pages_folder


def test_the_place_of_the_second_ui_is_taken_by_nothing(tmp_path: Path) -> None:
    for _ in range(2):
        pages = pages_folder(tmp_path)
        assert pages == tmp_path / "pages" and not (pages / "v2").exists() and os.path.lexists(pages / "v2")
