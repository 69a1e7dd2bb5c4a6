"""`python -m tests.golden` writes the recorded values anew: after a change that means to give stages other identities.

The teacher and the recipe of the archive stay; the store is made by real runs of the command line, two of them killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import chdir
from pathlib import Path

from flows.recipes import bundled
from infra.artifact import Artifact
from infra.store import open_store
from infra.upkeep.runs import read_ref
from tests import ROOT
from tests.golden.arithmetic import arithmetic
from tests.golden.chain import identities, place_weights
from tests.golden.recorded import HERE, golden
from tests.golden.test_identities import OVERRIDES
from tests.golden.test_store import KILLED

# two checkpoints are kept: the first to be deleted is that of step 3, when step 9's is there
KILL_AT = {"killed-pairs": "pairs:unit:shard-000001", "killed-reflow": "reflow:checkpoint-record-deleted:phase-0-l2"}
MADE_BY_HAND = ("golden.yaml", "teacher")


def main() -> None:
    """Write every value, and the archive."""
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder)
        _write("identities", _identities(world / "weights"))
        _write("arithmetic", {**golden("arithmetic"), "hash": arithmetic()})
        _run(world, "tiny", "--store", "tiny")
        _write("tiny", _made(world / "tiny", "tiny"))
        with tarfile.open(HERE / "store.tar.gz") as archive:
            archive.extractall(world, [one for one in archive if one.name.split("/")[0] in MADE_BY_HAND], filter="data")
        _runs(world)
        _archive(world, (*MADE_BY_HAND, "store"))
        for overrides in KILLED.values():  # what the killed ones end with
            _run(world, "golden.yaml", "--store", "store", *_options(overrides))
        _write("store", {name: _made(world / "store", name) for name in KILLED})


def _identities(folder: Path) -> dict[str, dict[str, str]]:
    place_weights(folder)
    with chdir(folder):
        return {name: identities(*OVERRIDES.get(name, (name,))) for name in [*bundled(), *OVERRIDES]}


def _runs(world: Path) -> None:
    for name, overrides in KILLED.items():
        killed = {"INSTAFLOW_KILL_AT": KILL_AT[name]} if name in KILL_AT else {}
        _run(world, "golden.yaml", "--store", "store", *_options(overrides), environment=killed)


def _options(overrides: Iterable[str]) -> list[str]:
    return [part for one in overrides for part in ("--set", one)]


def _run(world: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PREFECT_HOME": str(world / "prefect")}
    command = [sys.executable, "-m", "flows.cli", "run", *arguments]
    done = subprocess.run(command, cwd=world, env={**os.environ, **own, **(environment or {})}, check=False)
    expected = -signal.SIGKILL if environment else 0
    assert done.returncode == expected, f"{command}: {done.returncode}"


def _made(folder: Path, recipe: str) -> dict[str, dict[str, str]]:
    """Artifact and digest of every stage."""
    store, found = open_store(folder), {}
    for path in store.list(f"refs/{recipe}"):
        stage_id = Path(path).stem
        ref = read_ref(store, recipe, stage_id)
        if ref is not None:
            found[stage_id] = {"artifact": ref.artifact, "digest": Artifact.find(store, ref.artifact).digest}
    return found


def _archive(world: Path, names: Iterable[str]) -> None:
    with tarfile.open(HERE / "store.tar.gz", "w:gz") as archive:
        for name in names:
            archive.add(world / name, name)


def _write(name: str, values: object) -> None:
    (HERE / f"{name}.json").write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    print(f"{name}.json")


if __name__ == "__main__":
    main()
