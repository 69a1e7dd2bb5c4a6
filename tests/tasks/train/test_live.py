"""A training is followed while it runs; it makes the same, whoever looks; a rule ends it and keeps its checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact, Folder, Source
from infra.errors import UserError
from infra.store import Store
from infra.store.local import LocalStore
from tasks.progress import Progress, silent
from tasks.sections import Reflow, ReflowJob, ReflowPhase
from tasks.stage import run_stage
from tasks.stages import GLANCE_FILE, GLANCES_FILE, STAGES
from tasks.train import live
from tests.tasks.conftest import PERF, Killed, killed_after

STEPS = 30
QUIET = Reflow(phases=(ReflowPhase(steps=STEPS, batch_size=2),), warmup_steps=2, checkpoint_every_steps=10)


def watched(**changes: object) -> Reflow:
    return Reflow.model_validate(QUIET.model_dump() | {"evaluate_every_steps": 6, **changes})


def reflowed(config: Reflow, inputs: Mapping[str, Source], store: Store, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["reflow"], ReflowJob.of(config, 1), inputs, store, PERF, progress)


def table(store: Store, name: str) -> pa.Table:
    (path,) = (path for path in store.list("reflow") if path.endswith(f"/checkpoints/phase-0-l2/{name}"))
    return pq.read_table(pa.BufferReader(store.read(path)))


@pytest.fixture(scope="module")
def inputs(teacher: Folder, pairs: Artifact) -> dict[str, Source]:
    return {"teacher": teacher, "pairs": pairs}


@pytest.fixture(scope="module")
def undisturbed(inputs: dict[str, Source], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the training that nobody looks at."""
    return reflowed(QUIET, inputs, LocalStore(tmp_path_factory.mktemp("undisturbed"))).digest


def test_killed_twice_it_was_seen_all_the_way_and_makes_the_same(
    inputs: dict[str, Source], undisturbed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "EVERY_S", 0.0)
    store = LocalStore(tmp_path)
    for told in (15, 17):  # after the look at 12, and after the curve at 25
        with pytest.raises(Killed):
            reflowed(watched(), inputs, store, killed_after(told))
    seen = table(store, GLANCES_FILE).to_pydict()
    assert seen["step"] == [6, 12, 18, 24] and all(value > 0 for value in seen["distance_to_own_teacher"])
    assert all(value > 0 for value in seen["straightness"])
    assert table(store, "curve.parquet").to_pydict()["step"] == [25]
    (sheet,) = (path for path in store.list("reflow") if path.endswith(GLANCE_FILE))
    assert store.read(sheet)[8:12] == b"WEBP"
    made = reflowed(watched(), inputs, store)
    assert made.digest == undisturbed
    assert not [path for path in store.list("reflow") if "/checkpoints/" in path]


@pytest.mark.parametrize("rule", [{"distance_to_own_teacher": "> 1e-6"}, {"straightness": "> 1e-9"}])
def test_a_rule_ends_it_until_it_is_changed(
    rule: dict[str, str], inputs: dict[str, Source], undisturbed: str, tmp_path: Path
) -> None:
    ((name, told),) = rule.items()
    store, words = LocalStore(tmp_path), rf"reflow: stopped by stop_if at step 6 of phase-0-l2: {name} is .*, over 1e-"
    for _ in range(2):  # the second time before a step is done
        steps: list[int] = []
        with pytest.raises(UserError, match=words + rf".*rule {re.escape(repr(told))}.*checkpoints are kept"):
            reflowed(watched(stop_if=rule), inputs, store, lambda done, total, unit: steps.append(done))  # noqa: B023
    assert not steps
    assert [path for path in store.list("reflow") if "/step-00000006-" in path]
    lenient = {name: "> 1e9"}
    assert reflowed(watched(stop_if=lenient), inputs, store).digest == undisturbed


def test_a_loss_that_grows_ends_it(inputs: dict[str, Source], tmp_path: Path) -> None:
    config = QUIET.model_dump() | {"stop_if": {"loss": "> 1e-6"}}
    with pytest.raises(UserError, match=r"at step 25 of phase-0-l2: loss is "):
        reflowed(Reflow.model_validate(config), inputs, LocalStore(tmp_path))


def test_what_was_seen_and_is_damaged_is_seen_again(
    inputs: dict[str, Source], undisturbed: str, tmp_path: Path
) -> None:
    store = LocalStore(tmp_path)
    with pytest.raises(Killed):
        reflowed(watched(), inputs, store, killed_after(15))
    (path,) = (path for path in store.list("reflow") if path.endswith(GLANCES_FILE))
    store.write(path, b"torn")
    assert reflowed(watched(), inputs, store).digest == undisturbed
