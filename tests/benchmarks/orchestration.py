"""What it costs to have a chain run by the command, with server, records and rehearsal, over its functions alone."""

from __future__ import annotations

import os
import statistics
import tempfile
from unittest import mock

from tests.benchmarks.command import timed, timed_instaflow
from tests.benchmarks.row import Options, Row, duration, spread

RECIPE, ROUNDS = "tiny", 3
SHARE, CONSTANT_S = 0.05, 10.0


def measure(options: Options) -> list[Row]:
    """All stages of the miniature with the least work in them, where the share is hardest to keep."""
    alone, run = list[float](), list[float]()
    for _ in range(ROUNDS):
        # a cache of its own: what was rehearsed once on a machine is not rehearsed again
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.dict(os.environ, {"INSTAFLOW_CACHE": f"{folder}/cache"}),
        ):
            alone.append(timed("tests.one_process", [RECIPE, f"{folder}/alone"]))
            run.append(timed_instaflow(["run", RECIPE, "--store", f"{folder}/run"]))
    over = [whole - part for whole, part in zip(run, alone, strict=True)]
    limit_s = SHARE * statistics.median(alone) + CONSTANT_S
    return [
        Row(
            "orchestration of a whole chain",
            f"{spread(over)} s",
            f"at most {duration(limit_s)}",
            statistics.median(over) <= limit_s,
            f"{RECIPE}: {spread(run)} s, its functions alone {spread(alone)} s; {SHARE:.0%} and {CONSTANT_S:g} s",
        )
    ]
