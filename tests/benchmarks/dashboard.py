"""`instaflow dashboard`: the site of a large store and of a small one, from nothing."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.artifact import MANIFEST
from infra.artifact.fingerprint import SHORT
from infra.store import Store, open_store
from infra.store.at_once import at_once
from infra.upkeep.inventory import base_in
from infra.upkeep.runs import RunRecord, StageRun
from tests.benchmarks.command import timed_instaflow
from tests.benchmarks.plan import fill
from tests.benchmarks.row import Options, Row, at_most, at_most_times

ARTIFACTS, RUNS, LIMIT_S = 10_000, 2_000, 20.0
FEW_LIMIT_S = 5.0
MOST_TIMES = 6.0
"""The command over what it cannot do without: to read each of its files, parse it, and write the site's."""


def measure(options: Options) -> list[Row]:
    """The command as a process, of 200 artifacts and of 10,000; the large one also beside its bare files."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        store, out = open_store(Path(folder) / "store"), Path(folder) / "site"
        few = fill(store)
        few_s = _timed(store, out / "few")
        bases = [*_grown(store)]
        _write_runs(store, bases)
        seconds, bare_s = _timed(store, out / "many"), _bare(store, out)
        again_s = _timed(store, out / "many")
    detail = f"local folder; once more, with nothing to write, {again_s:.3g} s"
    return [
        at_most(f"dashboard of {few} artifacts", few_s, FEW_LIMIT_S, "local folder, from nothing"),
        at_most(f"dashboard of {len(bases):,} artifacts, {RUNS:,} runs", seconds, LIMIT_S, detail),
        at_most_times(
            "dashboard over its files", [seconds / bare_s], MOST_TIMES, f"reading, parsing, writing {bare_s:.3g} s"
        ),
    ]


def _timed(store: Store, out: Path) -> float:
    return timed_instaflow(["dashboard", "--store", store.url, "--out", str(out)])


def _grown(store: Store) -> Iterator[str]:
    """The artifacts again and again under other fingerprints, each made from others of its time, up to so many."""
    manifests = {path: json.loads(store.read(path)) for path in store.list() if path.endswith(f"/{MANIFEST}")}
    yield from (path.removesuffix(f"/{MANIFEST}") for path in manifests)
    for number in range(ARTIFACTS - len(manifests)):
        generation, place = divmod(number, len(manifests))
        path, manifest = [*manifests.items()][place]
        fingerprint = _other(manifest["fingerprint"], generation)
        inputs = [_moved(store, one, generation) for one in manifest["inputs"]]
        config = {**manifest["config"], "generation": generation}
        base = f"{manifest['stage']}/{fingerprint[:SHORT]}"
        folder = Path(store.url) / base
        for file in manifest["files"]:
            (folder / file["path"]).parent.mkdir(parents=True, exist_ok=True)
            (folder / file["path"]).write_bytes(b"x" * file["bytes"])
        changed = {**manifest, "fingerprint": fingerprint, "inputs": inputs, "config": config}
        (folder / MANIFEST).write_text(json.dumps(changed, indent=2))
        yield base


def _moved(store: Store, told: dict[str, str], generation: int) -> dict[str, str]:
    base = base_in(told["uri"])
    if base is None:
        return told
    stage, fingerprint = base.split("/")
    whole = json.loads(store.read(f"{base}/{MANIFEST}"))["fingerprint"]
    return {**told, "uri": f"{store.url}/{stage}/{_other(whole, generation)[:SHORT]}"}


def _other(fingerprint: str, generation: int) -> str:
    return hashlib.sha256(f"{fingerprint} {generation}".encode()).hexdigest()


def _write_runs(store: Store, bases: list[str]) -> None:
    started = datetime(2026, 1, 1, tzinfo=UTC)
    folder = Path(store.url) / "runs"
    folder.mkdir(exist_ok=True)
    for number in range(RUNS):
        at = started + timedelta(minutes=30 * number)
        some = [bases[(11 * number + place) % len(bases)] for place in range(11)]
        stages = [
            StageRun(stage=base.partition("/")[0], artifact=base, state="done", seconds=9, device_seconds=9)
            for base in some
        ]
        run = RunRecord(
            run_id=f"run-{number:06d}", recipe=f"recipe-{number % 20}", state="done", started_at=at.isoformat(),
            finished_at=(at + timedelta(minutes=9)).isoformat(), stages=stages, exit=0,
        )  # fmt: skip
        (folder / f"{run.run_id}.json").write_bytes(run.to_bytes())


def _bare(store: Store, out: Path) -> float:
    """Seconds to list the store, to read and parse each manifest and record, and to write the files of the site."""
    site = {path.relative_to(out).as_posix(): path.read_bytes() for path in (out / "many").rglob("*") if path.is_file()}
    copy = open_store(out / "copy")
    started = time.monotonic()
    paths = [path for path in store.sizes() if path.endswith(f"/{MANIFEST}") or path.startswith("runs/")]
    for data in store.read_many(paths).values():
        json.loads(data)
    for _ in at_once(lambda path: copy.write(path, site[path]), site):
        pass
    return time.monotonic() - started
