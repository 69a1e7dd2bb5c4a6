"""Any name is a file name."""

from __future__ import annotations

import pytest

from flows.page_names import URL, card_path, card_url, run_path, slug


@pytest.mark.parametrize("name", ["../../etc", "<script>", "a/b", "x" * 300, "", ".", "ünïcode", "a b"])
def test_a_strange_name_becomes_a_plain_one_of_its_own(name: str) -> None:
    found = slug(name)
    assert found.replace("-", "").isalnum() and found.isascii() and len(found) < 81
    assert found != slug(f"{name} ")


def test_a_plain_name_stays() -> None:
    assert slug("sd15-instaflow-0.9b") == "sd15-instaflow-0.9b"
    assert card_path("pairs/0123456789abcdef") == "artifacts/pairs/0123456789abcdef.html"
    assert run_path("2026-11-22T052954-d623b3") == "runs/2026-11-22T052954-d623b3.html"


@pytest.mark.parametrize(
    "told", ["https://team.example/site", "https://team.example/site/", "https://team.example/site/index.html"]
)
def test_a_card_is_found_from_elsewhere_where_a_dashboard_is_named(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, told)
    assert card_url("pairs/0123456789abcdef") == "https://team.example/site/artifacts/pairs/0123456789abcdef.html"


def test_no_password_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "http://somebody:secret@localhost:4210/?token=secret")
    assert card_url("pairs/0123456789abcdef") == "http://localhost:4210/artifacts/pairs/0123456789abcdef.html"
    monkeypatch.delenv(URL)
    assert card_url("pairs/0123456789abcdef") is None
