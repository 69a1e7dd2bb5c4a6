"""Stages on workers of their own: what sending one costs, what waiting costs, how well two share the pairs."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.benchmarks.command import ROOT
from tests.benchmarks.row import Options, Row, at_least, at_most, spread

POOLS = "default: cpu\npools: {cpu: {workers: [{}]}, one: {workers: [{devices: '1'}]}, nobody: {}, two: {workers: " + (
    "[{devices: '2'}, {devices: '3'}]}}\n"
)
ROUNDS, CHILDREN, WAIT_S = 3, 8, 60.0
PAIRS = ["prompts={reflow_count: 1024, distill_count: 8}", "pairs={steps: 12, shard_size: 64}"]


def measure(options: Options) -> list[Row]:
    """With a server and four workers of one thread each, started as a user does."""
    with tempfile.TemporaryDirectory() as folder, _up(Path(folder)):
        from flows.server.connection import standing

        with standing():
            return [_dispatch(Path(folder)), _waiting(Path(folder)), _shared(Path(folder))]


@contextmanager
def _up(folder: Path) -> Iterator[None]:
    (folder / "pools.yaml").write_text(POOLS)
    os.environ |= {"PREFECT_HOME": str(folder / "prefect"), "OMP_NUM_THREADS": "1", "INSTAFLOW_CACHE": str(folder)}
    instaflow = [sys.executable, "-m", "flows.cli"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([*instaflow, "up", "--pools", "pools.yaml", "--port", "0"], cwd=folder, env=environment, check=True)
    try:
        yield
    finally:
        subprocess.run([*instaflow, "down"], cwd=folder, env=environment, check=True)


def _sent(folder: Path, overrides: list[str], until: str) -> list[Any]:
    """The run records of a placed run in a store of its own, the pipeline's first."""
    from flows.pipeline import PIPELINES
    from flows.run.selection import Choice
    from infra.store import open_store
    from infra.upkeep.runs import list_runs

    store = open_store(Path(tempfile.mkdtemp(dir=folder)))
    PIPELINES["instaflow"](store.url, "tiny", overrides, Choice(until=(until,)))
    return list_runs(store)


def _dispatch(folder: Path) -> Row:
    """From the sending of a small stage to its artifact, without the time of its work."""
    found = []
    for _ in range(ROUNDS):
        pipeline, child = _sent(folder, ["placement.world.pool=cpu"], "world")
        found.append(pipeline.stages[0].seconds - child.stages[0].seconds)
    return at_most("a stage sent to another pool", statistics.median(found), 8.0, f"{spread(found)} s")


def _waiting(folder: Path) -> Row:
    """Requests in a minute of a parent whose children nobody takes."""
    from prefect import flow

    from flows.run.dispatch import Errand, _Dispatch
    from flows.run.watch import Watch
    from flows.server.children import children
    from infra.artifact import Draft
    from infra.environment import utc_now
    from infra.store import open_store
    from infra.upkeep.runs import RunRecord
    from tasks.progress import silent
    from tasks.sections import Place, World
    from tasks.share import Share
    from tasks.stage import Job
    from tasks.stages import STAGES

    job = Job(STAGES["world"], World(), {}, open_store(folder / "nothing"))
    record = RunRecord(run_id="waiting", recipe="tiny", state="running", started_at=utc_now())
    errand = Errand("world", job, Place(pool="nobody", workers=CHILDREN), record)
    sends, send = list[float](), httpx.Client.send

    def counted(client: httpx.Client, *arguments: Any, **more: Any) -> httpx.Response:
        sends.append(time.monotonic())
        return send(client, *arguments, **more)

    def beat() -> None:
        if time.monotonic() > began_s + WAIT_S:
            raise _Over

    @flow(persist_result=False)
    def waits() -> None:
        nonlocal began_s
        draft = Draft(job.store, "world", "0" * 16)
        with children("world/nobody", draft.base) as sent:
            dispatch = _Dispatch(errand, sent, draft, Watch(job.stage.extent(job.config, ()), beat), silent)
            dispatch._send([Share(number=number, of=CHILDREN) for number in range(CHILDREN)])
            began_s = time.monotonic()
            try:
                dispatch._await()
            finally:
                sent.cancel()

    began_s = time.monotonic()
    httpx.Client.send = counted  # type: ignore[method-assign]
    try:
        waits()
    except _Over:
        pass
    finally:
        httpx.Client.send = send  # type: ignore[method-assign]
    count = sum(began_s <= at < began_s + WAIT_S for at in sends)
    return Row(f"requests in a minute of waiting for {CHILDREN} children", f"{count}", "at most 60", count <= 60)


class _Over(BaseException):
    """The minute is."""


def _shared(folder: Path) -> Row:
    """Pairs per second of two workers over twice those of one, each of one thread, while they work; in turns."""
    placements = ["{pairs: {pool: one}}", "{pairs: {pool: two, workers: 2}}"]
    found = [[_rate(folder, placement) for placement in placements] for _ in range(ROUNDS)]
    alone, both = zip(*found, strict=True)
    shares = [two / (2 * one) for one, two in found]
    detail = f"{spread(alone)} pairs/s by one, {spread(both)} by two, on {os.cpu_count()} cores"
    return at_least("pairs by 2 workers over twice one", shares, 0.9, detail)


def _rate(folder: Path, placement: str) -> float:
    records = _sent(folder, [*PAIRS, f"placement={placement}"], "pairs-1")
    sent = [stage for one in records if one.part_of for stage in one.stages]
    return sum(stage.samples_per_second or 0.0 for stage in sent)
