"""Two samples go through every stage before the first shard, and what fails there is told with the stage's name."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from flows.algorithms.chain import Chain
from flows.recipes import chain_of, load_recipe
from flows.run import rehearsal
from flows.run.rehearsal_flow import rehearse
from flows.run.selection import EVERYTHING, Choice
from infra.errors import UserError
from infra.store import open_store
from tasks.stages import Stage
from tests import ROOT
from tests.flows.kitchen import CHAIN, Kitchen
from tests.models import untrained


@pytest.fixture(autouse=True)
def nothing_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which nothing has been rehearsed."""
    monkeypatch.setenv("INSTAFLOW_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose text encoder knows fewer words than its tokenizer: every header is as it should be."""
    folder = untrained.teacher_folder(tmp_path_factory.mktemp("wordless") / "teacher")
    config, path = (folder / "text_encoder" / name for name in ("config.json", "model.safetensors"))
    weights = load_file(path)
    (words,) = (name for name in weights if name.endswith("token_embedding.weight"))
    save_file({**weights, words: weights[words][:100].clone()}, path, {"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 100}))
    return folder


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher whose decoder gives no numbers."""
    folder = untrained.teacher_folder(tmp_path_factory.mktemp("blind") / "teacher")
    without_numbers(folder / "vae" / "diffusion_pytorch_model.safetensors", "decoder.")
    return folder


def without_numbers(path: Path, part: str = "") -> None:
    """Turn weights into what is not a number."""
    weights = load_file(path)
    save_file({name: value * (math.nan if name.startswith(part) else 1) for name, value in weights.items()}, path)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher that gives no numbers."""
    folder = untrained.teacher_folder(tmp_path_factory.mktemp("broken") / "teacher")
    without_numbers(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def chain(*overrides: str) -> Chain:
    return chain_of(load_recipe("tiny", overrides))


@pytest.mark.slow
def test_the_default_chain_is_rehearsed_in_words_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    store = open_store(tmp_path / "store")
    rehearse(chain(), store, EVERYTHING)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("rehearsal ") and last.endswith("two samples through 11 stages")
    assert store.list() == [] and not list(tmp_path.glob("instaflow-rehearsal-*"))


def test_what_no_header_tells_is_told_before_the_first_pair(wordless: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(UserError, match=r"^rehearsal of stage pairs-1: IndexError: ") as caught:
        rehearse(chain(f"teacher.path={wordless}"), store, EVERYTHING)
    assert "The whole run would end so: check" in str(caught.value)
    assert store.list() == []


def test_a_decoder_without_numbers_is_told_before_the_perceptual_phase(blind: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path / "store")
    with pytest.raises(UserError, match=r"^rehearsal of stage distill: .*(finite|nan)"):
        rehearse(chain(f"teacher.path={blind}"), store, EVERYTHING)


def test_a_teacher_without_numbers_is_told_before_the_first_pair(broken: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^rehearsal of stage pairs-1: pairs: all 2(\.0)? samples are quarantined"):
        rehearse(chain(f"teacher.path={broken}"), open_store(tmp_path / "store"), EVERYTHING)


def tried(told: Chain, folder: Path, monkeypatch: pytest.MonkeyPatch, choice: Choice = EVERYTHING) -> int:
    """How many stages two samples went through."""
    done: list[str] = []
    monkeypatch.setattr(rehearsal, "run_stage", lambda stage, *_: done.append(stage.name))
    rehearse(told, open_store(folder), choice)
    return len(done)


def test_what_went_through_once_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tried(chain(), tmp_path / "store", monkeypatch) == 11
    capsys.readouterr()
    longer = chain("reflow.phases=[{steps: 7, batch_size: 16, learning_rate: 3e-4}]", "pairs.shard_size=9")
    assert tried(longer, tmp_path / "another", monkeypatch) == 0
    assert capsys.readouterr().err.split() == "rehearsal not again the same 11 stages went through before".split()
    assert tried(chain("reflow.loss=huber"), tmp_path / "store", monkeypatch) == 11
    monkeypatch.setattr(rehearsal, "release", lambda: "0.2.0+another")
    assert tried(chain(), tmp_path / "store", monkeypatch) == 11


def test_a_part_of_what_went_through_is_not_tried_and_what_is_new_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Noted by stage: with what it is made from, whatever else the run did."""
    until_pairs = Choice(until=("pairs-1",))
    assert tried(chain(), tmp_path / "store", monkeypatch, until_pairs) == 3
    assert tried(chain(), tmp_path / "store", monkeypatch, Choice(until=("prompts",))) == 0
    assert tried(chain(), tmp_path / "store", monkeypatch, Choice(until=("reflow-1",))) == 4, "and what that takes"
    assert tried(chain(), tmp_path / "store", monkeypatch, until_pairs) == 0
    assert tried(chain("pairs.guidance=2.5"), tmp_path / "store", monkeypatch, until_pairs) == 3


def test_what_failed_is_tried_again_and_another_teacher_is_another_thing(
    broken: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(broken, tmp_path / "teacher")
    for _ in range(2):
        with pytest.raises(UserError, match="of stage pairs-1"):
            rehearse(chain(f"teacher.path={copy}"), open_store(tmp_path / "store"), EVERYTHING)
    assert tried(chain(f"teacher.path={copy}"), tmp_path / "store", monkeypatch) == 11
    shutil.rmtree(copy)
    untrained.teacher_folder(copy)
    assert tried(chain(f"teacher.path={copy}"), tmp_path / "store", monkeypatch) == 11


def test_a_perceptual_network_that_was_replaced_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = tmp_path / "trunk.safetensors"
    told = "distill.perceptual={kind: lpips, network: vgg, trunk_weights: " + f"{weights}" + "}"
    for content in (b"one", b"other"):
        weights.write_bytes(content)
        assert tried(chain(told), tmp_path / "store", monkeypatch) == 11
    assert tried(chain(told), tmp_path / "store", monkeypatch) == 0


@pytest.mark.parametrize(
    ("choice", "stages"),
    [
        (Choice(), 0),
        (Choice(force=("report",)), 0),
        (Choice(force=("direct", "report")), 11),
        (Choice(force=("pairs-1", "prompts"), until=("pairs-1",)), 3),
    ],
)
def test_it_is_for_runs_that_do_more_than_one_stage(
    choice: Choice, stages: int, kitchen: Kitchen, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kitchen.run()
    done: list[str] = []
    threads: set[threading.Thread] = set()

    def run_stage(stage: Stage, *_: object) -> None:
        done.append(stage.name)
        threads.add(threading.current_thread())

    monkeypatch.setattr(rehearsal, "run_stage", run_stage)
    capsys.readouterr()
    rehearse(CHAIN, kitchen.store, choice)
    assert len(done) == stages and ("rehearsal" in capsys.readouterr().err) == bool(stages)
    assert threading.main_thread() not in threads, "its pool of threads would slow all stages down"


@pytest.mark.slow
@pytest.mark.server
def test_a_run_that_would_end_late_ends_early(wordless: Path, tmp_path: Path, prefect_home: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "tiny", "--set", f"teacher.path={wordless}"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "instaflow: rehearsal of stage " in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "store").exists() or not open_store(tmp_path / "store").list()
