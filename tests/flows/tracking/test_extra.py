"""A library that is not installed."""

from __future__ import annotations

import pytest

from flows.tracking.extra import of_extra
from infra.errors import UserError


def test_the_error_names_the_extra_and_what_is_missing() -> None:
    with pytest.raises(UserError, match=r"^wandb: .*\(nowhere is missing\).* pip install 'instaflow\[wandb\]'"):
        with of_extra("wandb"):
            import nowhere  # type: ignore[import-not-found]  # noqa: F401
