"""A damaged shard is repaired by running the stage again: that shard alone, to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.store import Store
from infra.store.local import LocalStore
from infra.upkeep.verify import damages, mark
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PAIRS, PERF


@pytest.mark.parametrize("harm", ["flip", "cut", "lose"])
def test_one_shard_is_redone_to_the_same_bytes(
    harm: str, pairs: Artifact, teacher: Folder, prompts: Artifact, tmp_path: Path
) -> None:
    shutil.copytree(Path(pairs.store.url) / pairs.base, tmp_path / "store" / pairs.base)
    store: Store = LocalStore(tmp_path / "store")
    made = Artifact.open(store, "pairs", pairs.fingerprint)
    shard = made.files("shard-000001.tar")[0]
    path = tmp_path / "store" / made.base / shard.path
    whole = path.read_bytes()
    harms = {"flip": whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:], "cut": whole[:512]}
    path.unlink() if harm == "lose" else path.write_bytes(harms[harm])

    found = [*damages(made)]
    assert [damage.path for damage in found] == [shard.path]
    assert mark(made, found, {}) == ["shard-000001"]

    told: list[tuple[int, int]] = []
    inputs = {"teacher": teacher, "prompts": prompts}
    run = run_stage(STAGES["pairs"], PAIRS, inputs, store, PERF, lambda *at: told.append(at[:2]))
    assert told == [(12, 20), (20, 20)], "one batch of eight, after the twelve pairs that are sound"
    assert path.read_bytes() == whole and run.digest == pairs.digest
    assert [*damages(run)] == []
