"""The benchmarks say what to run first, never hide a miss, and read the numbers they promise to read."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from infra.environment import environment
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.runs import Ref, RunRecord, StageRun, write_ref, write_run
from tests import ROOT
from tests.benchmarks import (
    cached,
    dashboard,
    demo,
    first_batch,
    memory,
    pairs,
    plan,
    prompts,
    quality,
    reads,
    scale,
    transfers,
    verify,
)
from tests.benchmarks import shards as written
from tests.benchmarks.__main__ import NAMES, bench, measured
from tests.benchmarks.row import NOT_MEASURED, Options, Row, at_least_of, duration
from tests.benchmarks.table import show
from tests.models.untrained import teacher_folder
from tests.tasks import small_run


def test_an_empty_store_says_what_to_run_first(tmp_path: Path) -> None:
    rows = [
        row for name in ("setup", "demo", "cached", "suite", "quality") for row in measured(name, Options(tmp_path))
    ]
    assert len(rows) == 10 and {row.measured for row in rows} == {NOT_MEASURED}
    assert all("make demo" in row.detail or "--" in row.detail or "no such file" in row.detail for row in rows)


def test_the_last_run_that_made_everything_counts(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for number, states in enumerate([("done", "done"), ("done", "done"), ("cached", "done")]):
        at = {"stage": "pairs-1", "artifact": "pairs/0123456789abcdef"}
        stages = [StageRun.model_validate({**at, "state": state}) for state in states]
        record = RunRecord(
            run_id=f"r{number}",
            recipe="mini",
            state="done",
            started_at=f"2026-01-0{number + 1}T00:00:00.000+00:00",
            finished_at=f"2026-01-0{number + 1}T00:0{number + 7}:30.000+00:00",
            stages=stages,
            environment=environment(),
        )
        write_run(store, record)
    (row,) = demo.measure(Options(tmp_path))
    assert (row.measured, row.met) == ("8 min 30 s", False)
    assert "2026-01-02" in row.detail and "ANOTHER" not in row.detail


def test_quality_is_read_from_the_evaluation(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    artifact = small_run.evaluation(store, tmp_path, [], {})
    write_ref(store, "mini", "evaluate", Ref(artifact=artifact.base, digest=artifact.digest, config={}, inputs={}))
    rows = {row.name: row for row in quality.measure(Options(tmp_path / "store"))}
    assert rows["Reflow makes distillation easy"].measured == "0.536 ± 0.015 ×"
    assert rows["One step shows what the prompt says"].met and rows["One step is fast"].met is None


def test_pairs_are_measured_against_their_forwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "ROUNDS", 1)
    folder = teacher_folder(tmp_path / "teacher")
    ratio, rest = pairs.measure(Options(tmp_path / "store", teacher=str(folder), samples=3))
    assert ratio.met is not None and rest.met is not None
    assert float(ratio.measured.partition(" ")[0]) > 0 < float(rest.measured.partition(" ")[0])


def test_a_plan_is_asked_for_in_a_store_of_that_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ROUNDS", 1)
    monkeypatch.setattr(plan, "ARTIFACTS", 20)
    (row,) = plan.measure(Options(tmp_path))
    assert float(row.measured) > 0 and int(row.detail.partition(" artifacts")[0]) >= 20


def test_a_dashboard_is_built_of_stores_of_that_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "ARTIFACTS", 12)
    monkeypatch.setattr(dashboard, "ARTIFACTS", 40)
    monkeypatch.setattr(dashboard, "RUNS", 3)
    few, many, over = dashboard.measure(Options(tmp_path))
    assert "of 40 artifacts, 3 runs" in many.name and few.met is not None and many.met is not None
    assert float(over.measured.partition(" ")[0]) > 1


def test_prompts_are_read_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompts, "ROWS", 400)
    monkeypatch.setattr(prompts, "COMPARED", 50)
    rows = prompts.measure(Options(tmp_path))
    assert [row.name.split(",")[0] for row in rows] == ["prompts read", "prompts read with filters", "prompts compared"]


@pytest.mark.skipif(sys.platform != "linux", reason="what a process shares is told by /proc")
def test_processes_are_asked_what_they_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "SHARDS", 3)
    monkeypatch.setattr(memory, "SHARD_SIZE", 50)
    rows = memory.measure(Options(tmp_path))
    assert [row.name.split(",")[0] for row in rows] == ["index of 0.00015 M pairs", "prompts of 0.00015 M pairs"]
    assert all(row.met for row in rows) and float(rows[0].measured) > 0


def test_shards_of_the_first_batches_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_batch, "SHARDS", 24)
    monkeypatch.setattr(first_batch, "SHARD_SIZE", 40)
    monkeypatch.setattr(first_batch, "WINDOW", 4)
    monkeypatch.setattr(first_batch, "STEPS", 1)
    (row,) = first_batch.measure(Options(tmp_path))
    assert row.met and row.measured == "2"
    assert int(row.detail.partition("exact: ")[2].partition(",")[0]) > 12


def test_verify_is_measured_beside_its_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "FILE_BYTES", 2**16)
    (row,) = verify.measure(Options(tmp_path))
    assert row.met is not None and float(row.measured.partition(" ")[0]) > 0


def test_reads_and_writes_are_shares_of_the_bare_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, sizes in ((reads, {"SHARDS": 2, "SHARD_SIZE": 64}), (written, {"SHAPES": {(4, 8, 8): 3}})):
        monkeypatch.setattr(module, "ROUNDS", 1)
        for name, value in sizes.items():
            monkeypatch.setattr(module, name, value)
    rows = [*reads.measure(Options(tmp_path)), written.measure(Options(tmp_path))[-1]]
    assert all(row.met is not None and float(row.measured.partition(" ")[0]) > 0 for row in rows), rows


def test_a_rate_is_judged_beside_the_limit_of_its_moment() -> None:
    row = at_least_of("x", [4.0, 40.0, 50.0], [10.0, 80.0, 100.0], 0.5, "both slowed alike")
    assert (row.measured, row.met) == ("0.5 (0.4 to 0.5)", True)
    assert not at_least_of("x", [4.0], [10.0], 0.5).met


def test_transfers_are_measured_beside_rclone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROUNDS": 1, "FILES": 2, "FILE_BYTES": 2**16}.items():
        monkeypatch.setattr(transfers, name, value)
    rows = transfers.measure(Options(tmp_path))
    assert [row.name.split()[0] for row in rows] == ["verify", "cp", "cp"]
    assert all(row.met is not None and float(row.measured.partition(" ")[0]) > 0 for row in rows)


def test_a_stage_that_would_have_to_run_is_no_cached_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(arguments: object) -> float:
        raise AssertionError("nothing is cached: this would run for minutes")

    monkeypatch.setattr(cached, "timed_instaflow", never)
    assert cached.measure(Options(tmp_path))[0].measured == NOT_MEASURED


def test_a_benchmark_that_fails_is_a_miss(tmp_path: Path) -> None:
    (row,) = measured("pairs", Options(tmp_path, teacher=str(tmp_path / "absent")))
    assert row.met is False and "absent: no such file or folder" in row.detail


def test_the_table_counts_misses(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [Row("a", "1", "at most 2", True), Row("b | c", "3", "at most 2", False), Row("d", NOT_MEASURED, "x")]
    show([*rows, Row("e", "7")], {"CPU": "one"})
    text = capsys.readouterr().out
    assert "1 of 3 targets met, 1 missed (b | c), 1 not measured" in text
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="no benchmark nonsense; expected any of setup"):
        bench(names=["nonsense"])
    assert all((ROOT / "tests" / "benchmarks" / f"{name}.py").is_file() for name in NAMES)


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.benchmarks", "demo", "quality", "--store", str(tmp_path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "CPU:" in run.stdout and "0 of 6 targets met, 0 missed, 6 not measured" in run.stdout


@pytest.mark.parametrize(("seconds", "text"), [(0.01234, "0.0123 s"), (9.96, "9.96 s"), (59.7, "1 min 00 s")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_store_of_a_few_shards_is_asked_no_more_than_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "SHARDS", 10)
    monkeypatch.setattr(scale, "JOB", scale.JOB.model_copy(update={"samples": 20}))
    rows = scale.measure(Options(tmp_path))
    assert len(rows) == 7 and all(row.met for row in rows), rows
