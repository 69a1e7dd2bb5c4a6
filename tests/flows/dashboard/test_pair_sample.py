"""The first pairs and the rejected ones, as they were written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flows.dashboard.pair_sample import PAIRS, pair_sample, rejected
from infra.artifact import MANIFEST, Artifact
from infra.store import open_store
from tests.infra.small_pairs import commit, sample, shards


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_first_pairs_are_read_as_they_were_written(dtype: str, tmp_path: Path) -> None:
    found = pair_sample(commit(open_store(tmp_path), shards([80, 48], dtype)))
    assert found is not None and len(found.prompts) == PAIRS
    for number in (0, PAIRS - 1):
        pair = sample(number, dtype)
        assert found.prompts[number] == pair.prompt
        assert np.array_equal(found.noise[number], pair.noise) and np.array_equal(found.latent[number], pair.latent)
    assert found.noise.dtype == np.float32


@pytest.mark.parametrize("name", ["shard-000000.tar", "index.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"torn"])
def test_what_is_damaged_is_no_sample(name: str, content: bytes | None, tmp_path: Path) -> None:
    made = commit(open_store(tmp_path), shards([8]))
    path = f"{made.base}/{made.record(name).path}"
    if content is None:
        made.store.delete(path)
    else:
        made.store.write(path, content)
    assert pair_sample(made) is None


def test_offsets_beyond_the_file_are_not_read(tmp_path: Path) -> None:
    made = commit(open_store(tmp_path), shards([8]))
    told = json.loads(made.store.read(f"{made.base}/{MANIFEST}"))
    for file in told["files"]:
        if file["path"].endswith(".tar"):
            file["bytes"] = 512
    short = Artifact.of(made.store, made.stage, made.fingerprint, json.dumps(told).encode())
    assert pair_sample(short) is None


def test_without_quarantine_nothing_is_rejected(tmp_path: Path) -> None:
    assert rejected(commit(open_store(tmp_path), shards([8]))) == []
