"""MLflow: runs of an experiment, on a tracking server or in a folder."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from flows.tracking.extra import of_extra
from flows.tracking.tracked import Tracked
from infra.address import public
from infra.errors import UserError

if TYPE_CHECKING:
    from mlflow.entities import Run

EXPERIMENT = "MLFLOW_EXPERIMENT_NAME"
"""MLflow's own variable; where it is not set, the experiment is called instaflow."""
_QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
_KEY = "instaflow.key"
_FINISHED = "FINISHED"
_METRICS_AT_ONCE, _PARAMETERS_AT_ONCE = 1000, 100
"""What a server takes in a call."""

_T = TypeVar("_T")


class MLflow:
    """An experiment of a tracking server (http://...) or of a folder, which holds `mlflow.db` and `artifacts`.

    Raises UserError where MLflow is not installed, and where it refuses or cannot be reached.
    """

    def __init__(self, where: str) -> None:
        with of_extra("mlflow", _QUIET):
            from mlflow import MlflowClient
        self._where, name, artifacts, uri = where, os.environ.get(EXPERIMENT, "instaflow"), None, where
        if "://" not in where:
            folder = Path(where).expanduser().resolve()
            folder.mkdir(parents=True, exist_ok=True)
            uri, artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        with _refusals(where):
            self._client = MlflowClient(uri)
            found = self._client.get_experiment_by_name(name)
            self._experiment: str = found.experiment_id if found else self._client.create_experiment(name, artifacts)

    def told(self) -> Collection[str]:
        """Those that are whole; one that somebody was killed over is deleted, and told again."""
        keys: set[str] = set()
        for run in self._ours():
            if run.info.status == _FINISHED:
                keys.add(run.data.tags[_KEY])
            else:
                self._client.delete_run(run.info.run_id)
        return keys

    def _ours(self) -> Sequence[Run]:
        """Every run that we began, whatever became of it."""
        found: list[Run] = []
        token: str | None = ""
        while token is not None:
            with _refusals(self._where):
                page = self._client.search_runs([self._experiment], f"tags.`{_KEY}` != ''", page_token=token or None)
            found += page
            token = page.token or None
        return found

    def tell(self, run: Tracked) -> None:
        """Write a run, which is whole when it is finished."""
        with _refusals(self._where):
            self._tell(run)

    def _tell(self, run: Tracked) -> None:
        from mlflow.entities import Metric, Param

        tags = {_KEY: run.key, **{f"instaflow.{name}": value for name, value in run.tags.items()}}
        began, ended = _ms(run.began), _ms(run.ended)
        made = self._client.create_run(self._experiment, began, tags, run_name=run.artifact.base)
        run_id = made.info.run_id
        parameters = [Param(name, str(value)) for name, value in run.parameters.items()]
        for some in _chunks(parameters, _PARAMETERS_AT_ONCE):
            self._client.log_batch(run_id, params=some)
        numbers = [Metric(name, value, ended, step) for name, told in run.numbers.items() for step, value in told]
        for some in _chunks(numbers, _METRICS_AT_ONCE):
            self._client.log_batch(run_id, metrics=some)
        if sheet := run.contact_sheet():
            self._client.log_image(run_id, sheet, "contact_sheet.png")
        self._client.set_terminated(run_id, _FINISHED, ended)


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        told = public(str(error)).partition("\n")[0]
        raise UserError(f"mlflow {public(where)}: refuses, or does not answer: {told}") from error


def _ms(moment: datetime) -> int:
    return int(1000 * moment.timestamp())


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
