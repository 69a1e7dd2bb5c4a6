"""What devices cost is read from the site's own file, and counted from run records."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.run.costs import FILE, Site, read_site
from infra.errors import UserError
from infra.upkeep.runs import StageRun

SITE = Site(cost={"gpu": "2.5/h", "cpu": "0.1/h", "H200": "4/h", "NVIDIA H200 NVL": "3/h"}, currency="EUR")


@pytest.mark.parametrize(
    ("device", "price"),
    [("NVIDIA A100-SXM4", 5.0), ("CPU", 0.2), ("NVIDIA H200", 8.0), ("nvidia h200 nvl", 6.0), (None, 5.0)],
)
def test_the_longest_name_that_a_device_has_in_its_own_says_the_price(device: str | None, price: float) -> None:
    assert SITE.price(device, 7200) == pytest.approx(price)


def test_what_nobody_prices_costs_nothing_known() -> None:
    assert Site().price("CPU", 7200) is None and SITE.price("CPU", None) is None
    assert Site(cost={"cpu": "1/h"}).price("NVIDIA A100", 3600) is None


def test_what_stages_cost_is_the_sum_of_those_with_a_price() -> None:
    def stage(device: str | None, device_s: float | None) -> StageRun:
        done = {"stage": "pairs-1", "artifact": "pairs/0123456789abcdef", "state": "done"}
        return StageRun.model_validate({**done, "device": device, "device_seconds": device_s})

    stages = [stage("NVIDIA A100", 3600), stage("CPU", 36_000), stage(None, None)]
    assert SITE.spent(stages) == pytest.approx(3.5) and SITE.shown(SITE.spent(stages)) == "3.50 EUR"
    assert SITE.spent(stages[2:]) is None and SITE.shown(None) == ""


def test_the_file_is_named_or_lies_beside_the_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    assert read_site() == Site()
    (tmp_path / "site.yaml").write_text("cost: {gpu: 2.5/h}\n")
    assert read_site() == Site(cost={"gpu": "2.5/h"})
    (tmp_path / "other.yaml").write_text("cost: {gpu: 3/h}\ncurrency: EUR\n")
    monkeypatch.setenv(FILE, str(tmp_path / "other.yaml"))
    assert read_site().currency == "EUR"


@pytest.mark.parametrize(
    ("told", "message"),
    [("cost: {gpu: 2.5}\n", r"site\.yaml.*cost\.gpu"), ("costs: {gpu: 2.5/h}\n", r"site\.yaml.*costs")],
)
def test_a_file_that_says_something_else_is_named_with_its_field(
    told: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site.yaml").write_text(told)
    monkeypatch.setenv(FILE, str(tmp_path / "site.yaml"))
    with pytest.raises(UserError, match=message):
        read_site()


def test_a_file_that_is_named_has_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, "/nowhere/site.yaml")
    with pytest.raises(UserError, match="INSTAFLOW_SITE=/nowhere/site.yaml: no such file"):
        read_site()
