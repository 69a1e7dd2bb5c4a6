"""What making, planning, resuming, finishing and sweeping 3,200 shards on S3 ask of it, and a cached run, in requests.

The real stage makes pairs of the embedded teacher, two a shard; every request goes through a proxy that counts.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

from flows.run import sources
from flows.run.expectation import done
from flows.run.stage_flow import STAGE_FLOWS
from infra.artifact import MANIFEST, Artifact, Draft, Source, base_of
from infra.store import Store, open_store
from infra.upkeep.sweep import garbage, sweep
from tasks.progress import Progress, silent
from tasks.sections import PairsJob, Performance
from tasks.stage import find_cached, run_stage, stage_fingerprint
from tasks.stages import STAGES
from tests.benchmarks.large_pairs import SHARDS, commit_prompts
from tests.benchmarks.row import Options, Row, at_most
from tests.faults import FaultyProxy
from tests.flows.kitchen import CHAIN, Kitchen
from tests.s3 import BUCKET, rclone_server

SHARD_SIZE = 2
PAIRS = STAGES["pairs"]
JOB = PairsJob(samples=SHARDS * SHARD_SIZE, shard_size=SHARD_SIZE, steps=1, guidance=1.0, solver="ddim")


class _Reached(BaseException):
    """The work begins."""


@dataclass
class _World:
    """The store behind the proxy, and what pairs are made from."""

    store: Store
    proxy: FaultyProxy
    inputs: dict[str, Source] = field(default_factory=dict)

    @property
    def base(self) -> str:
        """The artifact's folder."""
        return base_of(PAIRS.name, stage_fingerprint(PAIRS, JOB, self.inputs))

    def run(self, progress: Progress = silent) -> Artifact:
        """The stage, to its end."""
        return run_stage(PAIRS, JOB, self.inputs, self.store, Performance(), progress)

    def asked(self, do: Callable[[], object]) -> list[str]:
        """The requests that it makes."""
        before = len(self.proxy.asked)
        do()
        return self.proxy.asked[before:]


def measure(options: Options) -> list[Row]:
    """Made once; then finished again by a process with an empty cache; then planned, resumed and swept half-made."""
    with _world() as world:
        made, finishing_s, downloads = _made(world)
        world.store.delete(f"{world.base}/{MANIFEST}")
        again_s = _finished_elsewhere(world)
        records = world.store.list(f"{world.base}/units/")
        world.store.delete_many([f"{world.base}/{MANIFEST}", *_of_shards(records)[: SHARDS // 2]])
        planned = world.asked(lambda: _plan(world))
        resumed = world.asked(lambda: _begin(world))
        swept = world.asked(lambda: _sweep(world.store))
        cached = world.asked(_cached_run(world.store))
    size = f"of {SHARDS:,} shards"
    return [
        _requests("one shard on S3, PUTs", made / SHARDS, 3, "tar, index, record; while the next one is solved"),
        at_most(f"finishing pairs {size}, by who made them", finishing_s, 60, f"{downloads} of them downloaded"),
        at_most(f"finishing pairs {size}, with an empty cache", again_s, 60, "each shard's index is downloaded"),
        _requests(f"plan {size}, half of them made, requests", len(planned), 20, ""),
        _requests(f"resume {size}, half of them made, to the first one, requests", len(resumed), 20, ""),
        _requests(f"cached run of a chain of {len(CHAIN.nodes)} stages, requests", len(cached), 40, _kinds(cached)),
        Row(f"gc {size}, requests", str(len(swept)), "reads no unit, deletes in bulk", _in_bulk(swept), _kinds(swept)),
    ]


def _requests(name: str, count: float, most: int, detail: str) -> Row:
    return Row(name, f"{count:,.3g}", f"at most {most}", count <= most, detail)


def _in_bulk(asked: list[str]) -> bool:
    return not [line for line in asked if line.startswith("DELETE") or ("/units/" in line and "prefix" not in line)]


def _kinds(asked: list[str]) -> str:
    kinds = [line.partition(" ")[0] for line in asked]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted({*kinds}))


@contextmanager
def _world() -> Iterator[_World]:
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        place = Path(folder)
        with rclone_server(place / "served") as server, FaultyProxy(server.endpoint) as proxy:
            own = {**server.environment(), "AWS_ENDPOINT_URL": proxy.endpoint, "INSTAFLOW_CACHE": str(place / "cache")}
            with mock.patch.dict(os.environ, own):
                world = _World(open_store(f"s3://{BUCKET}/store"), proxy)
                prompts = commit_prompts(world.store, SHARDS * SHARD_SIZE)
                world.inputs = {"teacher": sources.given("model", "mini"), "prompts": prompts}
                yield world


def _of_shards(records: list[str]) -> list[str]:
    return [path for path in records if "/shard-" in path]


def _made(world: _World) -> tuple[int, float, int]:
    """PUTs of the shards, seconds from the last one to the manifest, and what was downloaded then."""
    last: list[tuple[int, float]] = []
    before = len(world.proxy.asked)
    world.run(lambda done, total, unit: last.append((len(world.proxy.asked), time.monotonic())))
    count, then = last[-1]
    downloads = [line for line in world.proxy.asked[count:] if line.startswith("GET") and "/data/" in line]
    puts = [line for line in world.proxy.asked[before:count] if line.startswith("PUT")]
    return len(puts), time.monotonic() - then, len(downloads)


def _finished_elsewhere(world: _World) -> float:
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as cache:
        with mock.patch.dict(os.environ, {"INSTAFLOW_CACHE": cache}):
            started = time.monotonic()
            world.run()
            return time.monotonic() - started


def _plan(world: _World) -> None:
    """What a plan asks about the stage."""
    assert find_cached(PAIRS, JOB, world.inputs, world.store) is None
    draft = Draft(world.store, PAIRS.name, stage_fingerprint(PAIRS, JOB, world.inputs))
    assert done(draft, PAIRS.extent(JOB, world.inputs)) == SHARDS // 2


def _begin(world: _World) -> None:
    def progress(done: int, total: int, unit: str) -> None:
        assert done == SHARDS // 2 * SHARD_SIZE, f"{done} of {total} {unit}"
        raise _Reached

    try:
        world.run(progress)
    except _Reached:
        return
    raise AssertionError("there was nothing to do")


def _cached_run(store: Store) -> Callable[[], object]:
    """The second run of a chain of small stages, without Prefect; the first one is done here."""
    kitchen = Kitchen(store)

    def run() -> None:
        with mock.patch.dict(STAGE_FLOWS, dict.fromkeys(STAGES, kitchen.flow)):
            kitchen.run()

    run()
    return run


def _sweep(store: Store) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    found = garbage(store, later)
    assert {one.what.partition("/")[0] for one in sweep(store, found, later)} == {"pairs", "prompts"}
