"""Telling a tracker of a store: what it has not been told yet, from manifests and records alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from flows.observed.known import look
from flows.tracking.mlflow import MLflow
from flows.tracking.tensorboard import TensorBoard
from flows.tracking.tracked import Tracked, to_be_tracked
from flows.tracking.wandb import WeightsAndBiases
from infra.address import public
from infra.errors import UserError
from infra.store import Store, reason


class Tracker(Protocol):
    """Where runs are told, each once, under its key."""

    def told(self) -> Collection[str]:
        """The keys of the runs that are there and whole."""

    def tell(self, run: Tracked) -> None:
        """Tell of a run that is not there; one who is killed meanwhile leaves nothing that counts as told."""


TRACKERS: Mapping[str, Callable[[str], Tracker]] = {
    "tensorboard": TensorBoard,
    "mlflow": MLflow,
    "wandb": WeightsAndBiases,
}
"""By the name of its extra; each is opened with a folder, MLflow also with the address of a server."""


@dataclass(frozen=True)
class Told:
    """How many runs were new to the tracker, and how many it has now."""

    new: int
    runs: int


def tell(store: Store, tracker: str, where: str, now: datetime) -> Told:
    """Tell a tracker, by its name, of every training and evaluation of a store that it has not been told of.

    Raises StoreError, and UserError where the tracker's library is not installed or it cannot be told.
    """
    try:
        place = TRACKERS[tracker](where)
        there, runs = place.told(), [*to_be_tracked(look(store, now))]
        new = [run for run in runs if run.key not in there]
        for run in new:
            place.tell(run)
    except OSError as error:
        raise UserError(
            f"{public(where)}: cannot write here: {reason(error)}. Name a folder that you may write to."
        ) from error
    return Told(len(new), len(runs))
