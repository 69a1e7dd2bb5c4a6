"""What the lists of 3.2 million pairs take of a process's memory: the index of a rank, the prompts of the pairs' stage.

Measured in real processes: what each has of its own (anonymous memory), and that with its share of what is mapped
(PSS). What is mapped belongs to the page cache: the kernel takes it back when it needs the room.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

from infra.artifact import Artifact
from infra.store import open_store
from tests.benchmarks.command import ROOT
from tests.benchmarks.large_pairs import SHARD_SIZE, SHARDS, commit_pairs, commit_prompts
from tests.benchmarks.row import Options, Row, not_measured

RANKS, BATCHES, BATCH = 2, 200, 64
MOST_INDEX_MB, MOST_PROMPTS_MB = 350, 64
_ROLLUP = Path("/proc/self/smaps_rollup")
Use = dict[str, float]


def measure(options: Options) -> list[Row]:
    """Megabytes for each process, beside what it has when it has imported all that it needs."""
    size = f"{SHARDS * SHARD_SIZE / 1e6:.2g} M pairs"
    index, prompts = f"index of {size}, MB per rank", f"prompts of {size}, MB of its own"
    if not _ROLLUP.exists():
        targets = {index: f"at most {MOST_INDEX_MB}", prompts: f"at most {MOST_PROMPTS_MB}"}
        return [not_measured(*row, "the shares of a process are told by Linux's /proc") for row in targets.items()]
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder, _cache(folder):
        store = open_store(Path(folder) / "store")
        pairs, texts = commit_pairs(store, SHARDS, SHARD_SIZE), commit_prompts(store, SHARDS * SHARD_SIZE)
        (maker,), (alone,), ranks = (_together("index", pairs, count) for count in (1, 1, RANKS))
        (first,), (reader,) = (_together("prompts", texts, 1) for _ in range(2))
    trained = (
        f"{BATCHES} batches in exact global order, alone: {_said(alone)}; {RANKS} ranks at once: {_said(ranks[0])}"
    )
    trained += f"; the one that maps it {_said(maker)}"
    solved = f"those of every shard: {_said(reader)}; the one that maps them {_said(first)}"
    return [
        _row(index, max(one["all"] for one in [alone, *ranks]), MOST_INDEX_MB, trained),
        _row(prompts, reader["own"], MOST_PROMPTS_MB, solved),
    ]


def _row(name: str, megabytes: float, most: float, detail: str) -> Row:
    return Row(name, f"{megabytes:,.0f}", f"at most {most:g}", megabytes <= most, detail)


def _said(use: Use) -> str:
    return f"{use['own']:,.0f} of its own and {use['all'] - use['own']:,.0f} as its share of what is mapped"


@contextmanager
def _cache(folder: str) -> Iterator[None]:
    with mock.patch.dict(os.environ, {"INSTAFLOW_CACHE": f"{folder}/cache", "INSTAFLOW_CACHE_BYTES": "100GB"}):
        yield


def _together(what: str, artifact: Artifact, count: int) -> list[Use]:
    """What processes took that were there at the same time."""
    command = [sys.executable, "-m", "tests.benchmarks.memory", what, artifact.uri]
    runs = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    try:
        for _ in ("ready", "read"):
            for run in runs:
                _next(run)
        return [json.loads(_next(run)) for run in runs]
    finally:
        for run in runs:
            run.kill()
            run.wait()


def _next(run: subprocess.Popen[str]) -> str:
    """Let a process go on, and hear what it says next."""
    assert run.stdin and run.stdout
    run.stdin.write("\n")
    run.stdin.flush()
    line = run.stdout.readline()
    assert line, f"{run.args} ended"
    return line


def _index(uri: str) -> Callable[[], object]:
    from tasks.train.batches import Batches
    from tasks.train.pair_sets import PairSets

    artifact = Artifact.find(open_store("."), uri)

    def train() -> object:
        batches = Batches(PairSets([artifact]), 0, BATCH)
        for step in range(BATCHES):
            batches(step)
        return batches

    return train


def _prompts(uri: str) -> Callable[[], object]:
    from tasks.data.part_prompts import PartPrompts

    artifact = Artifact.find(open_store("."), uri)

    def read() -> object:
        prompts = PartPrompts(artifact, "reflow")
        letters = sum(len(text) for start in range(0, len(prompts), 1000) for _, text in prompts[start : start + 1000])
        assert letters > len(prompts)
        return prompts

    return read


def _main(what: str, uri: str) -> None:
    """Answers each line on stdin with one on stdout: ready, read, and what that took in MB."""
    import pyarrow.parquet  # noqa: F401 # else its code would count

    read, before = {"index": _index, "prompts": _prompts}[what](uri), _used()

    def say(line: str) -> None:
        sys.stdin.readline()
        print(line, flush=True)

    say("ready")
    held = read()
    say("read")
    sys.stdin.readline()
    after = _used()
    print(json.dumps({name: after[name] - before[name] for name in after}), flush=True)
    sys.stdin.readline()
    del held


def _used() -> Use:
    """MB that nobody else has, and those together with its share of what is mapped (Linux, proc_pid_smaps(5))."""
    lines = [line.split() for line in _ROLLUP.read_text().splitlines()[1:]]
    kilobytes = {name.rstrip(":"): int(value) for name, value, *_ in lines}
    return {"own": kilobytes["Anonymous"] * 1024 / 1e6, "all": kilobytes["Pss"] * 1024 / 1e6}


if __name__ == "__main__":
    _main(*sys.argv[1:])
