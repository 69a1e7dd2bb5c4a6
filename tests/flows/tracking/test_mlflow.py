"""What MLflow's own client finds in its database. Runs where mlflow is installed: it is no part of `make test`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.tracking.telling import Told, tell
from infra.errors import UserError
from tests.flows.observed.small_store import NOW, Small
from tests.flows.tracking.expected import Expected


@pytest.fixture(scope="module")
def client() -> Any:
    """A client's class."""
    return pytest.importorskip("mlflow", reason="mlflow is not installed: pip install 'instaflow[mlflow]'").MlflowClient


@pytest.fixture(scope="module")
def folder(client: Any, small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mlflow")
    assert tell(small.store, "mlflow", str(folder), NOW) == Told(new=6, runs=6)
    return folder


def opened(client: Any, folder: Path) -> tuple[Any, str]:
    found = client(f"sqlite:///{folder}/mlflow.db")
    return found, found.get_experiment_by_name("instaflow").experiment_id


def runs(client: Any, folder: Path) -> dict[str, Any]:
    found, experiment = opened(client, folder)
    return {run.data.tags["instaflow.artifact"]: run for run in found.search_runs([experiment])}


def test_the_numbers_are_those_of_the_store(client: Any, folder: Path, expected: Mapping[str, Expected]) -> None:
    found, _ = opened(client, folder)
    those = runs(client, folder)
    assert {*those} == {*expected}
    for base, one in expected.items():
        names = those[base].data.metrics
        history = {name: found.get_metric_history(those[base].info.run_id, name) for name in names}
        one.require({name: sorted((e.step, e.value) for e in told) for name, told in history.items()})


def test_config_and_origin_are_parameters_and_tags(client: Any, folder: Path, small: Small) -> None:
    those = runs(client, folder)
    assert those[small.made["evaluate"].base].data.params["num_images"] == "1000"
    made, tags = small.made["distill"], those[small.made["distill"].base].data.tags
    assert tags["instaflow.digest"] == made.digest and tags["instaflow.recipe"] == "mini"
    assert tags["instaflow.made_of.pairs"] == small.made["pairs-student"].base


def test_an_evaluation_has_its_contact_sheet(client: Any, folder: Path, small: Small) -> None:
    found, _ = opened(client, folder)
    for base, run in runs(client, folder).items():
        names = [one.path for one in found.list_artifacts(run.info.run_id)]
        assert names == (["contact_sheet.png"] if base.startswith("evaluate/") else [])


def test_told_again_nothing_is_added(client: Any, folder: Path, small: Small) -> None:
    before = {run.info.run_id for run in runs(client, folder).values()}
    assert tell(small.store, "mlflow", str(folder), NOW) == Told(new=0, runs=6)
    assert {run.info.run_id for run in runs(client, folder).values()} == before


def test_what_one_was_killed_over_is_told_again(client: Any, folder: Path, small: Small) -> None:
    found, experiment = opened(client, folder)
    whole = runs(client, folder)[small.made["distill"].base]
    found.delete_run(whole.info.run_id)
    half = found.create_run(experiment, tags={"instaflow.key": whole.data.tags["instaflow.key"]})
    assert tell(small.store, "mlflow", str(folder), NOW) == Told(new=1, runs=6)
    there = runs(client, folder)
    assert len(there) == 6 and half.info.run_id not in [run.info.run_id for run in there.values()]


def test_without_its_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UserError, match=r"pip install 'instaflow\[mlflow\]'"):
        tell(small.store, "mlflow", "anywhere", NOW)
