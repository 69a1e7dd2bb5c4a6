"""A stage's identity and its cache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from infra import artifact
from infra.artifact import Draft, Folder, Source
from infra.errors import UserError
from infra.recipe import Evaluate, Performance, Prompts, Section, World
from infra.store import Store
from tasks.progress import Progress, silent
from tasks.stage import StageResult, entry_point, named_files, run_stage, stage_fingerprint
from tests.infra.test_full_disk import files_end_at


def _counted(calls: list[str], blob: Path) -> object:
    def work(
        config: Section, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: object, /
    ) -> StageResult:
        calls.append(out.stage)
        out.commit_unit("all", {"blob.txt": blob}, rows=1)
        return StageResult(metrics={"calls": len(calls)})

    return work


def test_a_finished_stage_is_not_done_again(tmp_path: Path) -> None:
    (tmp_path / "blob.txt").write_text("made")
    store, calls = Store.open(tmp_path / "store"), []
    work = _counted(calls, tmp_path / "blob.txt")
    first, second = (
        run_stage("world", 1, work, World(), {}, store, Performance(sample_batch_size=size), silent)  # type: ignore[arg-type]
        for size in (1, 2)
    )
    assert calls == ["world"] and first.digest == second.digest
    assert first.manifest.metrics == {"calls": 1}


def test_a_cached_stage_imports_nothing(tmp_path: Path) -> None:
    (tmp_path / "blob.txt").write_text("made")
    store = Store.open(tmp_path / "store")
    made = run_stage("world", 1, _counted([], tmp_path / "blob.txt"), World(), {}, store, Performance(), silent)  # type: ignore[arg-type]
    absent = entry_point("no_such_module:work")
    assert run_stage("world", 1, absent, World(), {}, store, Performance(), silent).digest == made.digest


def test_another_library_version_is_recorded_and_redoes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blob.txt").write_text("made")
    store, calls = Store.open(tmp_path / "store"), list[str]()
    work = _counted(calls, tmp_path / "blob.txt")
    made = []
    for version in ("1.0", "2.0"):
        monkeypatch.setattr(artifact, "environment", lambda version=version: {"torch": version})
        made.append(run_stage("world", 1, work, World(), {}, store, Performance(), silent))  # type: ignore[arg-type]
        elsewhere = Store.open(tmp_path / version)
        made.append(run_stage("world", 1, work, World(), {}, elsewhere, Performance(), silent))  # type: ignore[arg-type]
    assert [one.manifest.environment["torch"] for one in made] == ["1.0", "1.0", "1.0", "2.0"]
    assert len(calls) == 3 and len({one.fingerprint for one in made}) == len({one.digest for one in made}) == 1


def test_version_config_and_inputs_make_the_identity(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    a, b = Folder.open(tmp_path / "a"), Folder.open(tmp_path / "b")
    base = stage_fingerprint("world", 1, World(), {"x": a})
    assert base == stage_fingerprint("world", 1, World(seed=1), {"x": a})
    others = [
        ("world", 2, World(), {"x": a}),
        ("world", 1, World(seed=2), {"x": a}),
        ("world", 1, World(), {"x": b}),
    ]
    assert base not in {stage_fingerprint(*other) for other in others}


def test_a_file_named_by_path_counts_by_its_content(tmp_path: Path) -> None:
    for name, text in {"one": "same", "two": "same", "three": "other"}.items():
        (tmp_path / name).write_text(text)
    one, two, three = (
        stage_fingerprint("prompts", 1, Prompts(source="text", path=str(tmp_path / name)), {})
        for name in ("one", "two", "three")
    )
    assert one == two != three


def test_missing_weights_are_named_by_field() -> None:
    with pytest.raises(UserError, match=r"inception_weights: /nowhere/inception\.pth: no such file"):
        named_files(Evaluate(features="inception", inception_weights="/nowhere/inception.pth"))


def test_a_full_disk_of_the_work_in_progress_is_named(tmp_path: Path) -> None:
    def work(
        config: World, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
    ) -> StageResult:
        (out.workdir / "small").write_bytes(b"s")
        out.commit_unit("small", {"small.txt": out.workdir / "small"})
        with files_end_at(1000):
            (out.workdir / "large").write_bytes(bytes(2000))
        raise AssertionError("the kernel refuses")

    store = Store.open(tmp_path / "store")
    with pytest.raises(UserError, match=r"stage world: no room .* in /\S+: File too large\. .*TMPDIR"):
        run_stage("world", 1, work, World(), {}, store, Performance(), silent)
    assert [path for path in store.list("world") if path.endswith("units/small.json")]
