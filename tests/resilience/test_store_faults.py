"""The whole chain on a store that fails: the same artifacts in the end, or an error in time and nothing lost.

`INSTAFLOW_FAULT_SECONDS=60` makes every fault last a minute.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import Fault, FaultyProxy
from tests.resilience.driver import Attempt
from tests.resilience.places import Ended, Place, require_same, up_to
from tests.s3 import BUCKET, S3Server

SECONDS = float(os.environ.get("INSTAFLOW_FAULT_SECONDS", "2"))
LONGEST_S = 300 + 2 * len(Fault) * SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * LONGEST_S)]

REQUESTS_BETWEEN = 80
"""Of 900; so every training, the pairs and the evaluation are met by one."""


@pytest.fixture
def proxy(rclone: S3Server) -> Iterator[FaultyProxy]:
    """A proxy before a real S3 server."""
    with FaultyProxy(rclone.endpoint) as found:
        yield found


@pytest.fixture
def place(proxy: FaultyProxy, rclone: S3Server, tmp_path: Path) -> Iterator[Place]:
    """An empty store behind the proxy."""
    environment = {
        **rclone.environment(),
        "AWS_ENDPOINT_URL": proxy.endpoint,
        "INSTAFLOW_CACHE": str(tmp_path / "cache"),
        "INSTAFLOW_STORE_TIMEOUT_S": "1",
    }
    found = Place(Attempt(f"s3://{BUCKET}/{uuid.uuid4().hex}", tmp_path / "attempts", environment))
    yield found
    found.clean_up()


def test_the_chain_waits_out_every_kind_of_fault(proxy: FaultyProxy, place: Place, undisturbed: Ended) -> None:
    proxy.strike(*Fault, seconds=SECONDS, after=REQUESTS_BETWEEN)
    found = place.run(LONGEST_S)
    assert {*proxy.struck} == {*Fault}
    require_same(found, undisturbed)


def test_the_chain_fails_when_the_store_is_lost_and_goes_on_when_it_is_back(
    proxy: FaultyProxy, place: Place, undisturbed: Ended
) -> None:
    proxy.strike(Fault.RESET, seconds=1000, after=2 * REQUESTS_BETWEEN)
    impatient = {"INSTAFLOW_STORE_PATIENCE_S": "2", "AWS_MAX_ATTEMPTS": "1"}
    lost = place.run(environment={**place.asked.environment, **impatient})
    assert lost.exitcode == 1
    assert re.search(rf"StoreError: store {place.asked.store}: cannot .*; tried \d+ times in \d+ s", lost.log), lost.log
    proxy.heal()
    resumed = place.run(until="reflow-1")
    require_same(resumed, undisturbed, "reflow-1")
    whole = [point for point in undisturbed.points if point.partition(":")[0] in up_to("reflow-1", undisturbed)]
    assert len(resumed.points) < len(whole), "what was committed is not made again"
