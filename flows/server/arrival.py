"""What a flow does first where a worker started it: is the code what was deployed, where do paths begin?"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from flows.server.leftovers import end_leftovers
from infra.errors import UserError
from infra.release import PACKAGE, release

RELEASE = "INSTAFLOW_RELEASE"
"""What a deployment was made from: in the environment of a run that a worker started, nowhere else."""

HOME = "INSTAFLOW_HOME"
"""The folder in which relative paths of a recipe begin on a worker: where it was started."""


def arrive(store: str) -> None:
    """Refuse other code than was deployed, and a store that is another folder on every machine, with UserError.

    Of an earlier attempt at this run nothing is left RUNNING.
    """
    deployed = os.environ.get(RELEASE)
    if deployed is None:
        return
    if deployed != release():
        raise UserError(
            f"the worker on {socket.gethostname()} has {PACKAGE} {release()}, deployed was {PACKAGE} {deployed}."
            " Install what was deployed on the worker, or deploy what it has: instaflow deploy."
        )
    if home := os.environ.get(HOME):
        os.chdir(home)  # Prefect gives every run a folder of its own, which goes with it
    if "://" not in store and not Path(store).is_absolute():
        raise UserError(
            f"store {store}: a relative path is another folder for every worker. Expected s3://BUCKET/PATH or the"
            " absolute path of a folder that all of them share."
        )
    if flow_run.run_count > 1:
        with get_client(sync_client=True) as client:
            end_leftovers(client, UUID(flow_run.id))
