"""The processes and stores of the tests that disturb the whole chain."""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.forkserver
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from filelock import FileLock

from tests import ROOT
from tests.resilience.driver import Attempt
from tests.resilience.places import Ended, Place
from tests.s3 import BUCKET, S3Server

NewPlace = Callable[[], Place]


@pytest.fixture(scope="package", autouse=True)
def fork_server() -> Iterator[None]:
    """Processes are forked from one that has imported everything heavy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.resilience.warm"])
        multiprocessing.forkserver.ensure_running()
        yield
        multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="package")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Ended:
    """What a run ends with that nobody disturbs: one for all workers of pytest-xdist."""
    folder = tmp_path_factory.mktemp("undisturbed")
    if worker_id == "master":
        return _undisturbed(folder)
    kept = tmp_path_factory.getbasetemp().parent / "undisturbed.json"
    with FileLock(f"{kept}.lock"):
        if not kept.exists():
            kept.write_text(json.dumps(asdict(_undisturbed(folder))))
    return Ended(**json.loads(kept.read_text()))


def _undisturbed(folder: Path) -> Ended:
    place = Place(Attempt(str(folder / "store"), folder))
    done = place.run()
    assert done.exitcode == 0 and not done.damaged, done.log
    return done


@pytest.fixture(params=["local", "s3"])
def new_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NewPlace]:
    """Makes an empty store of that kind."""
    server: S3Server | None = request.getfixturevalue("rclone") if request.param == "s3" else None
    places: list[Place] = []

    def make() -> Place:
        name = uuid.uuid4().hex
        url = f"s3://{BUCKET}/{name}" if server else str(tmp_path / name)
        environment = {"INSTAFLOW_CACHE": str(tmp_path / "cache"), **(server.environment() if server else {})}
        places.append(Place(Attempt(url, tmp_path / f"{name}-attempts", environment)))
        return places[-1]

    yield make
    for place in places:
        place.clean_up()
