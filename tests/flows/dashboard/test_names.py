"""Any name is a file name."""

from __future__ import annotations

import pytest

from flows.dashboard.names import card_path, run_path, slug


@pytest.mark.parametrize("name", ["../../etc", "<script>", "a/b", "x" * 300, "", ".", "ünïcode", "a b"])
def test_a_strange_name_becomes_a_plain_one_of_its_own(name: str) -> None:
    found = slug(name)
    assert found.replace("-", "").isalnum() and found.isascii() and len(found) < 81
    assert found != slug(f"{name} ")


def test_a_plain_name_stays() -> None:
    assert slug("sd15-instaflow-0.9b") == "sd15-instaflow-0.9b"
    assert card_path("pairs/0123456789abcdef") == "artifacts/pairs/0123456789abcdef.html"
    assert run_path("2026-11-22T052954-d623b3") == "runs/2026-11-22T052954-d623b3.html"
