"""`instaflow artifacts` over the small chain."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
import webdataset
from typer.testing import CliRunner

from flows.cli.artifacts import artifacts
from flows.cli.results import export_tree
from infra.artifact import Artifact, Draft, Folder, draft
from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.local import LocalStore
from infra.upkeep.inventory import find
from infra.upkeep.runs import write_begun
from tests import ROOT
from tests.infra.chain import make, make_chain
from tests.infra.small_artifact import PRINT, UNITS, commit
from tests.infra.small_artifact import make as small_artifact
from tests.s3 import BUCKET, S3Server


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


@pytest.fixture
def chain(store: Store, tmp_path: Path) -> dict[str, Artifact]:
    return make_chain(store, tmp_path / "teacher")


def _run(store: Store, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(artifacts, [*arguments, "--store", store.url])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def test_ls(store: Store, chain: dict[str, Artifact]) -> None:
    store.write("pairs/0123456789abcdef/units/x.json", b"{}")
    lines = _run(store, "ls").splitlines()
    assert len(lines) == 1 + 4 and lines[0].split() == ["artifact", "rows", "size", "finished", "wanted", "by"]
    assert next(line for line in lines if "0123456789abcdef" in line).split()[1:] == ["unfinished"]
    line = next(line for line in lines if line.startswith("distill/")).split()
    assert line[0] == chain["distill"].base and line[1] == "4" and line[-1] == "mini"
    listed = {line["artifact"]: line for line in json.loads(_run(store, "ls", "--json"))}
    assert listed[chain["distill"].base]["digest"] == chain["distill"].digest
    assert listed["pairs/0123456789abcdef"]["finished_at"] is None


def test_ls_of_nothing(store: Store) -> None:
    assert _run(store, "ls") == f"no artifacts in {store.url} yet\n"


def test_show(store: Store, chain: dict[str, Artifact]) -> None:
    made = chain["pairs-1"]
    text = _run(store, "show", made.fingerprint[:8])
    for part in (made.uri, made.digest, "input prompts", made.files()[0].path, '{"mean": 0.5}'):
        assert part in text
    assert json.loads(_run(store, "show", made.base, "--json"))["fingerprint"] == made.fingerprint
    assert all(line == line.rstrip() for line in text.splitlines())


def test_show_tells_which_hosts_and_devices_made_the_units(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = (("one", "2.15.0", "NVIDIA H200"), ("two", "2.14.0", "CPU"), ("one", "2.15.0", "NVIDIA H200"))
    for unit, (host, torch, device) in zip(UNITS, makers, strict=True):
        monkeypatch.setattr(
            draft, "environment", lambda host=host, torch=torch: {"host": host, "torch": torch, "os": "x"}
        )
        with Draft(store, "pairs", PRINT, lambda device=device: device) as out:  # type: ignore[misc]
            commit(out, unit, 1.0)
    made = small_artifact(store)
    text = _run(store, "show", made.base)
    assert "one, NVIDIA H200: 2 of 3 units, torch 2.15.0" in text and "two, CPU: 1 of 3 units, torch 2.14.0" in text
    assert "os x" not in text.partition("made by")[2], "what was the same for all is told once"


def test_verify_names_what_is_bad_and_what_to_do(store: Store, chain: dict[str, Artifact]) -> None:
    assert _run(store, "verify") == "every file is what its manifest says\n"
    made = chain["pairs-1"]
    first, second = made.files()
    store.write(f"{made.base}/{first.path}", b"x" * first.bytes)
    store.delete(f"{made.base}/{second.path}")
    for arguments in (["verify"], ["verify", made.base]):
        text = _run(store, *arguments, code=1)
        assert f"{made.base}/{first.path}: has sha256" in text
        assert f"{made.base}/{second.path}: is missing" in text
        assert "Run its recipe again: only units shard-000000, shard-000001 will be redone." in text
    assert _run(store, "verify", chain["prompts"].base) == "every file is what its manifest says\n"


def test_verify_names_a_manifest_that_does_not_parse(store: Store, chain: dict[str, Artifact]) -> None:
    store.write(f"{chain['distill'].base}/manifest.json", b"{")
    assert f"{chain['distill'].base}/manifest.json: the whole file" in _run(store, "verify", code=1)


def test_urls_are_what_webdataset_reads(store: Store, tmp_path: Path) -> None:
    import tarfile

    made = make(store, "pairs", {})
    for file in made.files():
        (tmp_path / "a.txt").write_text("text")
        with tarfile.open(f"{store.url}/{made.base}/{file.path}", "w") as tar:
            tar.add(tmp_path / "a.txt", "000.txt")
    shards = _run(store, "urls", made.base).splitlines()
    assert [sample["txt"] for sample in webdataset.WebDataset(shards, shardshuffle=False)] == [b"text"] * 2
    with pytest.raises(UserError, match=r"no file is named \*\.parquet; it has shard-000000\.tar"):
        _run(store, "urls", made.base, "--glob", "*.parquet")


def test_urls_of_another_store(tmp_path: Path) -> None:
    store = open_store(f"memory://bucket{tmp_path}")
    made = make(store, "pairs", {})
    assert _run(store, "urls", made.base).splitlines() == [f"{store.url}/{made.base}/{f.path}" for f in made.files()]


def test_lineage_goes_down_to_the_prompts_and_the_teacher(
    store: Store, chain: dict[str, Artifact], tmp_path: Path
) -> None:
    lines = _run(store, "lineage", chain["distill"].base).splitlines()
    assert lines[0].startswith(chain["distill"].base)
    assert [line.lstrip("│├└─ ").partition(": ")[0] for line in lines[1:]] == ["pairs", "prompts", "teacher"]
    assert str(tmp_path / "teacher") in lines[-1]


def test_lineage_for_machines_has_each_once_after_what_it_was_made_from(
    store: Store, chain: dict[str, Artifact]
) -> None:
    both = make(store, "evaluate", {"pairs": chain["pairs-1"], "prompts": chain["prompts"]})
    told = json.loads(_run(store, "lineage", both.base, "--json"))
    assert [one["artifact"] for one in told] == [chain["prompts"].base, chain["pairs-1"].base, both.base]
    inputs = {one["role"]: one for one in told[1]["inputs"]}
    assert inputs["prompts"]["artifact"] == chain["prompts"].base and told[0]["digest"] == chain["prompts"].digest
    assert inputs["teacher"]["artifact"] is None, "a folder"


def test_lineage_draws_each_once(store: Store, chain: dict[str, Artifact]) -> None:
    both = make(store, "evaluate", {"pairs": chain["pairs-1"], "prompts": chain["prompts"]})
    text = _run(store, "lineage", both.base)
    assert text.count("(above)") == 1


TEACHER = ROOT / "models" / "mini" / "weights" / "teacher"


def test_a_teacher_is_added_once_and_exported_again(store: Store, tmp_path: Path) -> None:
    address, use = _run(store, "add", str(TEACHER)).splitlines()
    assert use == f"a teacher: --set teacher.path={address}"
    assert _run(store, "add", str(TEACHER)).splitlines()[0] == f"{address} (was there)"
    made = Artifact.find(store, address)
    assert made.digest == Folder.open(TEACHER).digest
    assert export_tree(made, tmp_path / "out") is None and Folder.open(tmp_path / "out").digest == made.digest
    store.delete(f"{made.base}/{made.files('model/unet/*')[0].path}")
    assert "Add its folder again: only unit model will be redone." in _run(store, "verify", made.base, code=1)
    assert _run(store, "add", str(TEACHER)).splitlines()[0] == address
    assert _run(store, "verify", made.base) == "every file is what its manifest says\n"


def test_a_folder_that_is_nothing_of_ours_is_not_added(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot tell what this is"):
        _run(store, "add", str(tmp_path))
    with pytest.raises(UserError, match="absent: no such folder"):
        _run(store, "add", str(tmp_path / "absent"))
    assert store.list() == []


def test_adding_goes_on_after_kill_9(rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**rclone.environment(), "INSTAFLOW_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    store = open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")

    def add(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", "artifacts", "add", str(TEACHER), "--store", store.url]
        here = os.environ | {"PYTHONPATH": str(ROOT)} | environment
        return subprocess.run(command, cwd=tmp_path, env=here, capture_output=True, text=True, timeout=120, check=False)

    killed = add(INSTAFLOW_KILL_AT="added:blob:model/vae/config.json")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    before = store.modified()
    assert before and all("/data/" in path for path in before), "no record of it yet"
    done = add()
    assert done.returncode == 0, done.stderr
    after = store.modified()
    assert {path: after[path] for path in before} == before, "what was there is not sent again"
    made = Artifact.find(store, done.stdout.splitlines()[0])
    assert made.digest == Folder.open(TEACHER).digest == Folder.open(made.folder("model")).digest


def test_gc_asks_first(store: Store, chain: dict[str, Artifact]) -> None:
    loose = make(store, "pairs", {}, {"steps": 1})
    assert _run(store, "gc") == "nothing to remove\n", "younger than a week"
    long_ago = time.time() - 8 * 86400
    for path in (Path(store.url) / loose.base).rglob("*"):
        os.utime(path, (long_ago, long_ago))
    text = _run(store, "gc")
    assert f"{loose.base}: no recipe's last run and no pin needs it" in text and "would remove 1 thing" in text
    assert find(store, loose.base)
    assert _run(store, "gc", "--grace", "9d") == "nothing to remove\n"
    _run(store, "pin", loose.base, "--note", "for the paper")
    assert _run(store, "gc") == "nothing to remove\n"
    assert _run(store, "unpin", loose.base) == f"{loose.base} is not pinned any more\n"
    assert "removed 1 thing" in _run(store, "gc", "--delete")
    assert store.list(loose.base) == []


def test_gc_says_what_a_run_has_come_to_need_meanwhile(
    store: Store, chain: dict[str, Artifact], monkeypatch: pytest.MonkeyPatch
) -> None:
    loose = [make(store, "pairs", {}, {"steps": steps}) for steps in (1, 2)]
    for path in Path(store.url).rglob("*"):
        os.utime(path, (0, 0))
    delete = LocalStore.delete

    def a_run_begins(self: LocalStore, path: str) -> None:
        write_begun(store, "mini", "pairs-2", loose[0].base)
        delete(self, path)

    monkeypatch.setattr(LocalStore, "delete", a_run_begins)
    *_, kept, removed = _run(store, "gc", "--delete").splitlines()
    assert kept == f"{loose[0].base}: kept, it has come to be needed meanwhile" and "removed 1 thing" in removed
    assert find(store, loose[0].base).manifest == loose[0].manifest and store.list(loose[1].base) == []


@pytest.mark.parametrize("grace", ["7", "a week", "-1d", ""])
def test_a_grace_that_is_none(store: Store, grace: str) -> None:
    with pytest.raises(UserError, match="expected a number and s, m, h or d"):
        _run(store, "gc", "--grace", grace)


def test_cp(store: Store, chain: dict[str, Artifact], tmp_path: Path) -> None:
    target = open_store(tmp_path / "target")
    lines = _run(store, "cp", chain["distill"].base, target.url).splitlines()
    assert lines == [f"{target.url}/{chain[name].base}" for name in ("prompts", "pairs-1", "distill")]
    assert _run(store, "cp", "--alone", chain["distill"].base, target.url).endswith("(was there)\n")
    assert _run(target, "verify") == "every file is what its manifest says\n"
