"""A plan as people read it."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from flows.cli.plan_table import plan_table
from flows.run.costs import Site
from flows.run.planner import Planned
from tests.flows.kitchen import Kitchen

RUN = Planned("pairs-1", "pairs", "run", "first run of this recipe", 0, 40, "shards")
NO_PRICES = Site()
CACHED = Planned("world", "world", "cached", "nothing changed", 1, 1, "units")


def _lines(*stages: Planned, site: Site = NO_PRICES) -> list[str]:
    console = Console(width=200, file=io.StringIO())
    console.print(plan_table(stages, site))
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_the_table_shows_what_json_has(kitchen: Kitchen) -> None:
    kitchen.run()
    text = "\n".join(_lines(*kitchen.plan("student_pairs.seed=7").values()))
    assert "CACHED" in text and "RUN 40 shards" in text and "seed: 1 -> 7" in text
    assert "to do" in text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (CACHED, "CACHED"),
        (RUN, "RUN 40 shards"),
        (replace(RUN, state="resume", done=12), "RESUME 12/40 shards"),
        (replace(RUN, total=1), "RUN 1 shard"),
        (replace(RUN, state="resume", done=1500, total=29_375, unit="steps"), "RESUME 1,500/29,375 steps"),
    ],
)
def test_a_state_is_a_word_and_a_count(line: Planned, text: str) -> None:
    _, row, _ = _lines(line)
    assert row.split("  ")[1].strip() == text


def test_what_is_expected_stands_beside_it() -> None:
    _, row, total = _lines(replace(RUN, expected_seconds=185.0, expected_bytes=1_300_000_000))
    assert "3 min 05 s, 1.3 GB" in row and total == "to do: 1 of 1 stages, about 3 min 05 s"


def test_the_last_line_adds_up_what_is_known() -> None:
    known = replace(RUN, expected_seconds=60.0, expected_bytes=10)
    assert _lines(CACHED)[-1] == "nothing is to do"
    assert _lines(CACHED, RUN, RUN)[-1] == "to do: 2 of 3 stages"
    assert _lines(CACHED, known, known)[-1] == "to do: 2 of 3 stages, about 2 min 00 s"
    assert _lines(CACHED, known, RUN, known)[-1] == "to do: 3 of 4 stages, about 2 min 00 s, 1 of them unknown"


def test_a_price_stands_beside_it_and_is_added_up() -> None:
    priced = replace(RUN, samples=1_600_000, tflop=64_261_875.0, device_days=16.04)
    cheap = replace(RUN, samples=40, tflop=0.0123, device_days=1e-7)
    _, row, _ = _lines(priced)
    assert "1,600,000  64,261,875         16.0" in row
    _, row, _ = _lines(cheap)
    assert "40" in row and "0.012" in row and "0.0 " not in row
    assert _lines(priced, cheap)[-1] == "to do: 2 of 2 stages, 64,261,875 TFLOP, 16.0 device-days"
    assert _lines(priced, replace(cheap, device_days=None))[-1] == "to do: 2 of 2 stages, 64,261,875 TFLOP"
    assert "TFLOP" in _lines(RUN)[0] and _lines(RUN)[-1] == "to do: 1 of 1 stages"


def test_a_site_that_knows_prices_tells_them() -> None:
    site = Site(cost={"gpu": "2/h"}, currency="EUR")
    title, row, last = _lines(replace(RUN, device_days=2.0, device="NVIDIA A100", cost=96.0), site=site)
    assert title.split()[5] == "cost" and "96.00 EUR" in row and last.startswith("to do: 1 of 1 stages, 96.00 EUR")
    assert "cost" not in _lines(RUN)[0]
