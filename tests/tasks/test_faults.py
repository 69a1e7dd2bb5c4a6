"""A stage on a store that fails: the same pairs in the end, and an outage is never taken for work to be done."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.store import StoreError, open_store
from tasks.progress import Progress
from tasks.stage import find_cached
from tasks.stages import STAGES
from tests.faults import Fault, FaultyProxy
from tests.s3 import BUCKET, S3Server
from tests.tasks.conftest import PAIRS
from tests.tasks.data.test_pairs import everything, run


@pytest.fixture
def proxy(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """A proxy before a real S3 server; stores opened from now on go through it."""
    with FaultyProxy(rclone.endpoint) as found:
        settings = {"INSTAFLOW_STORE_TIMEOUT_S": "1", "INSTAFLOW_CACHE": str(tmp_path), "AWS_MAX_ATTEMPTS": "1"}
        for name, value in {**rclone.environment(), "AWS_ENDPOINT_URL": found.endpoint, **settings}.items():
            monkeypatch.setenv(name, value)
        yield found


def assert_same(made: Artifact, pairs: Artifact) -> None:
    assert made.digest == pairs.digest
    (noise, latent, texts, keys), again = everything(pairs), everything(made)
    assert noise.equal(again[0]) and latent.equal(again[1]) and (texts, keys) == again[2:]


@pytest.mark.slow
def test_pairs_made_through_every_kind_of_fault_are_the_same(
    proxy: FaultyProxy, pairs: Artifact, prompts: Artifact, teacher: Folder
) -> None:
    proxy.strike_first(*Fault)
    made = run(open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}"), teacher, prompts)
    assert_same(made, pairs)
    assert proxy.struck.total() > len(Fault)


def test_a_store_lost_in_mid_stage_fails_it_and_it_resumes_when_the_store_is_back(
    proxy: FaultyProxy, pairs: Artifact, prompts: Artifact, teacher: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTAFLOW_STORE_PATIENCE_S", "1")
    store = open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    inputs = {"teacher": teacher, "prompts": prompts}
    with pytest.raises(StoreError, match=rf"store {store.url}: cannot (read|write) .*; tried \d+ times"):
        run(store, teacher, prompts, progress=lost_after(12, proxy))
    with pytest.raises(StoreError, match=rf"store {store.url}: cannot read .*manifest.json"):
        find_cached(STAGES["pairs"], PAIRS, inputs, store)
    proxy.heal()
    assert len([path for path in store.list("pairs") if "/units/shard-" in path]) == 1
    assert find_cached(STAGES["pairs"], PAIRS, inputs, store) is None
    told: list[int] = []
    assert_same(run(store, teacher, prompts, progress=lambda done, *_: told.append(done)), pairs)
    assert told[0] == 8, "what is committed is not made again"
    proxy.strike(Fault.RESET, seconds=1000)
    with pytest.raises(StoreError):
        find_cached(STAGES["pairs"], PAIRS, inputs, store)


def lost_after(pairs_done: int, proxy: FaultyProxy) -> Progress:
    def progress(done: int, *_: object) -> None:
        if done >= pairs_done:
            proxy.strike(Fault.RESET, seconds=1000)

    return progress
