"""What Prometheus is told, read back by its own parser."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from flows.dashboard.exposition import exposition
from flows.run.costs import FILE
from tests.flows.observed.small_store import Small


def test_a_store_is_told_to_prometheus(small: Small) -> None:
    families = {one.name: one for one in text_string_to_metric_families(exposition(small.known).decode())}

    def values(name: str, *labels: str) -> dict[tuple[str, ...], float]:
        return {tuple(one.labels[label] for label in labels): one.value for one in families[name].samples}

    assert values("instaflow_runs", "state") == {
        ("running",): 2, ("lost",): 1, ("failed",): 1, ("cancelled",): 2, ("done",): 2,
    }  # fmt: skip
    assert values("instaflow_stage_units_done", "run", "stage") == {("2026-11-22T055001-ffffff", "pairs-1"): 6000}
    assert {*values("instaflow_stage_silent_seconds", "run").values()} == {0}
    assert values("instaflow_damaged") == {(): 4} and values("instaflow_to_be_redone") == {(): 1}
    assert values("instaflow_artifacts", "stage")[("distill",)] == 2
    assert sum(values("instaflow_device_seconds", "recipe", "stage").values()) == 285
    assert values("instaflow_cost", "recipe") == {}, "nobody says what it costs"
    student = small.known.evaluations[small.made["evaluate again"].base].of_models
    told = next(one.number("frechet_distance") for one in student if one.model == "student")
    assert values("instaflow_model_frechet_distance", "recipe", "model", "steps")["mini", "student", "1"] == told


def test_money_is_told_at_the_prices_of_the_site(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site.yaml").write_text("cost: {gpu: 3600/h, cpu: 3600/h}\ncurrency: EUR\n")
    monkeypatch.setenv(FILE, str(tmp_path / "site.yaml"))
    families = text_string_to_metric_families(exposition(small.known).decode())
    told = next(one.samples for one in families if one.name == "instaflow_cost")
    assert sum(one.value for one in told) == 285 and {one.labels["currency"] for one in told} == {"EUR"}
