"""Numbers are said as people say them."""

from __future__ import annotations

import pytest

from infra.words import duration, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (4.24, "4.2 s"),
        (10, "10 s"),
        (59.0, "59 s"),
        (60, "1 min 00 s"),
        (185.0, "3 min 05 s"),
        (3599.4, "59 min 59 s"),
        (3600, "1 h 00 min"),
        (7800.0, "2 h 10 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_a_duration_has_two_figures_or_so(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (12_345, "12 kB"),
        (1_300_000_000, "1.3 GB"),
        (210_000_000_000, "210 GB"),
        (1_500_000_000_000, "1.5 TB"),
        (2_500_000_000_000_000, "2,500.0 TB"),
    ],
)
def test_a_size_counts_in_thousands(count: int, text: str) -> None:
    assert size(count) == text
