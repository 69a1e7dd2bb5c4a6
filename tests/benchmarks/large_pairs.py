"""Pairs and prompts of the size of the paper's training, made in a minute: the lists are whole, the arrays tiny."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.shards.shards import Sample, index_schema, write_shard
from infra.store import Store

SHARDS, SHARD_SIZE = 3200, 1000
_THINGS = "an otter,a violin,a glacier,a teapot,a comet,a harbour,a beetle,an orchard,a lantern,a walrus".split(",")
_STYLES = "watercolour,engraving,photograph,mosaic,sketch,fresco,collage,etching,poster,tapestry".split(",")


def prompt(number: int) -> str:
    """Distinct, some 70 letters."""
    one, other = _THINGS[number % 10], _THINGS[number // 10 % 10]
    return f"{_STYLES[number // 100 % 10]} of {one} beside {other}, number {number:07d}, soft morning light"


def write_prompts(path: Path, count: int) -> None:
    """Rows as of `prompts.parquet`, all of the part ``reflow``."""
    prompts = [prompt(number) for number in range(count)]
    pq.write_table(pa.table({"index": range(count), "part": ["reflow"] * count, "prompt": prompts}), path)


def commit_prompts(store: Store, count: int) -> Artifact:
    """An artifact of these."""
    with Draft(store, "prompts", fingerprint("prompts", 1, {"count": count}, {})) as draft:
        path = draft.workdir / "prompts.parquet"
        write_prompts(path, count)
        draft.commit_unit("prompts", {path.name: path}, rows=count)
        return draft.finish(["prompts"], 1, {}, {}, {}, {}, utc_now())


def commit_pairs(store: Store, shards: int, shard_size: int) -> Artifact:
    """Shards that hold one pair each, of one number, which all rows of the shard point at."""
    with Draft(store, "pairs", fingerprint("pairs", 1, {"shards": shards, "shard_size": shard_size}, {})) as draft:
        number = np.zeros((1, 1, 1), np.float32)
        paths = [draft.workdir / f"shard-{shard:06d}.tar" for shard in range(shards)]
        (row, *_) = [write_shard(path, [Sample(path.stem, number, number, "", 0, 0)])[0] for path in paths]
        every = range(shards * shard_size)
        columns = {name: [getattr(row, name)] * len(every) for name in index_schema().names}
        columns |= {"index": every, "key": [f"{place:09d}" for place in every], "prompt": [*map(prompt, every)]}
        columns["shard"] = [paths[place // shard_size].name for place in every]
        index = draft.workdir / "index.parquet"
        pq.write_table(pa.table(columns, schema=index_schema()), index)
        draft.commit_unit("all", {path.name: path for path in (*paths, index)}, rows=len(every))
        return draft.finish(["all"], 1, {}, {}, {}, {}, utc_now())
