"""Any model or folder of pictures is measured as a preset says, without a recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from flows.algorithms.chain import Chain
from flows.cli.measuring import Asked, asked, measuring
from flows.recipes import chain_of, load_recipe
from flows.run.sources import WEIGHTS
from infra.artifact import Artifact
from infra.errors import UserError
from infra.store import Store, open_store
from infra.upkeep.adding import add
from tasks.sections import Recipe
from tests import ROOT
from tests.flows.kitchen import CHAIN, Kitchen
from tests.models import untrained

TEACHER = str(WEIGHTS / "teacher")
FEW = ("evaluate.num_images=4", "evaluate.straightness_images=2", "world.val_images=6")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "store")


def recipe_of(wanted: Asked, preset: str, overrides: Sequence[str], store: Store, names: Chain) -> Recipe:
    return load_recipe(preset, measuring(wanted, preset, overrides, store, names))


def test_a_folder_is_measured_as_the_preset_says(store: Store) -> None:
    told = recipe_of(asked(TEACHER, None, None), "mini-1k", FEW, store, CHAIN).model_dump()
    expected = load_recipe("mini-1k", [*FEW, f"model.path={TEACHER}"]).model_dump()
    assert told == expected and told["evaluate"]["num_images"] == 4


def test_steps_and_guidance_are_swept(store: Store) -> None:
    told = recipe_of(asked(TEACHER, "1,4,25", "1,3,5"), "mini-1k", (), store, CHAIN).model_dump()["evaluate"]
    assert (told["steps"], told["teacher_steps"]) == ((1, 4, 25), 25)
    assert (told["guidances"], told["teacher_guidance"]) == ((1.0, 3.0, 5.0), 3.0), "the preset's own is among them"
    other = recipe_of(asked(TEACHER, None, "1.5"), "mini-1k", (), store, CHAIN).model_dump()["evaluate"]
    assert (other["guidances"], other["teacher_guidance"]) == ((), 1.5)


def test_a_flow_is_solved_as_flows_are(store: Store, tmp_path: Path) -> None:
    teacher = untrained.teacher_folder(tmp_path / "teacher")
    flow = untrained.flow_folder(teacher, tmp_path / "flow")
    solvers = [
        recipe_of(asked(str(folder), None, None), "mini-1k", (), store, CHAIN).model_dump()["evaluate"][
            "teacher_solver"
        ]
        for folder in (teacher, flow)
    ]
    assert solvers == ["dpmsolver++", "euler"]


def test_a_model_is_known_by_its_everyday_name_and_sampled_as_its_recipe_does(kitchen: Kitchen) -> None:
    kitchen.run()
    student, flow = (
        recipe_of(asked(name, None, None), "mini-1k", (), kitchen.store, CHAIN).model_dump()
        for name in ("student", "2-rf")
    )
    assert student["model"]["path"] == kitchen.artifact("distill").uri
    told = student["evaluate"]
    assert (told["steps"], told["teacher_steps"], told["teacher_guidance"]) == ((1,), 1, 1.0)
    assert (flow["evaluate"]["steps"], flow["evaluate"]["teacher_guidance"]) == ((25,), 1.5)
    artifact = kitchen.artifact("reflow-1")
    by_digits = f"reflow/{artifact.fingerprint[:8]}"
    assert recipe_of(asked(by_digits, "2", None), "mini-1k", (), kitchen.store, CHAIN).model_dump()["model"][
        "path"
    ] == (artifact.uri)


def test_pictures_that_were_added_are_measured_by_their_address(store: Store, tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    (tmp_path / "drawn" / "0.png").write_bytes(b"picture")
    made, _ = add(store, tmp_path / "drawn", "pictures")
    told = recipe_of(asked(made.uri, None, None), "coco2014-30k", (), store, CHAIN).model_dump()
    assert told["pictures"] == made.uri and told["model"]["path"] == "mini"


def test_a_folder_of_pictures_takes_the_place_of_a_model(store: Store, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    told = recipe_of(asked(str(tmp_path), None, None), "coco2014-30k", (), store, CHAIN).model_dump()
    assert told["pictures"] == str(tmp_path) and told["model"]["path"] == "mini"
    with pytest.raises(UserError, match="--steps and --guidance are of a model"):
        recipe_of(asked(str(tmp_path), "4", None), "mini-1k", (), store, CHAIN)


@pytest.mark.parametrize("text", ["", "0", "x", "1,,2", "1.5", "-1"])
def test_steps_are_counts(text: str) -> None:
    with pytest.raises(UserError, match=f"^--steps {text}: expected numbers from 1 on with commas"):
        asked("m", text, None)


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf"])
def test_guidance_is_a_number(text: str) -> None:
    with pytest.raises(UserError, match=f"^--guidance {text}: expected numbers from 0 on"):
        asked("m", None, text)


def test_what_cannot_be_measured_is_refused_in_words(store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: no diffusers folder .* and no folder of pictures either"):
        recipe_of(asked(str(tmp_path / "empty"), None, None), "mini-1k", (), store, CHAIN)
    with pytest.raises(UserError, match=r"model studnet: there is no such model\..* Did you mean student\?"):
        recipe_of(asked("studnet", None, None), "mini-1k", (), store, CHAIN)
    with pytest.raises(UserError, match=r"--preset tiny: a recipe of the algorithm instaflow; expected .*mini-1k"):
        recipe_of(asked(TEACHER, None, None), "tiny", (), store, CHAIN)
    with pytest.raises(UserError, match=r"contradicted by --set evaluate\.steps"):
        recipe_of(asked(TEACHER, "4", None), "mini-1k", ["evaluate.steps=[2]"], store, CHAIN)


@pytest.mark.slow
@pytest.mark.server
def test_it_prints_a_table_and_leaves_a_page(tmp_path: Path, prefect_home: Path) -> None:
    command = [
        sys.executable, "-m", "flows.cli", "evaluate", "teacher", "--preset", "mini-1k", "--steps", "1,2",
        "--guidance", "1,3", "--out", "out", *(word for one in FEW for word in ("--set", one)),
        "--set", "performance.throughput_batch_sizes=[1]",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    head, *rows, _, last = done.stdout.splitlines()
    assert "Fréchet distance, real" in head and "to own teacher" not in head and last == "report: out/report.html"
    assert [row.split()[:3] for row in rows] == [
        ["model", "2", "3"], ["model", "2", "1"], ["model", "1", "3"], ["model", "1", "1"],
    ]  # fmt: skip
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>Evaluation of weights/teacher</h1>" in page and "Fréchet distance and CLIP score" in page
    for absent in ("InstaFlow", "What was promised", "straightened", "cannot be drawn", "2-RF"):
        assert absent not in page
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    store = open_store(tmp_path / "store")
    assert metrics["protocol"]["evaluated"] == "captions 1 to 4 of 6" and metrics["protocol"]["floor"] is None
    measured = Artifact.find(store, next(line.split()[-1] for line in done.stderr.splitlines() if "evaluate/" in line))
    by_role = {record.role: record.digest for record in measured.manifest.inputs}
    assert metrics["protocol"]["measured"] == {"model": by_role["model"]}


def test_its_recipe_can_be_run_like_any_other() -> None:
    chain = chain_of(load_recipe("mini-1k", ["evaluate.guidances=[1.0, 5.0]"]))
    assert [*chain.nodes] == ["world", "real", "evaluate", "report"]
