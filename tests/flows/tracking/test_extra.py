"""A library that is not installed."""

from __future__ import annotations

import os

import pytest

from flows.tracking.extra import of_extra
from infra.errors import UserError


def test_the_error_names_the_extra_and_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"^wandb: .*\(nowhere is missing\).* pip install 'instaflow\[wandb\]'"):
        with of_extra("wandb"):
            import nowhere  # type: ignore[import-not-found]  # noqa: F401


def test_it_is_kept_quiet_unless_its_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOISY", "yes")
    monkeypatch.setenv("TELLING", "")
    monkeypatch.delenv("TELLING")
    with of_extra("wandb", {"NOISY": "no", "TELLING": "no"}):
        assert (os.environ["NOISY"], os.environ["TELLING"]) == ("yes", "no")
