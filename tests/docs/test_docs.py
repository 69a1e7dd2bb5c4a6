"""What the documentation says is what the code does."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import JsonValue

from flows.algorithms.instaflow import Recipe
from flows.recipes import bundled, chain_of, load_recipe, parse_recipe
from flows.run.planner import plan
from infra.artifact import Folder, base_of
from infra.artifact.manifest import Manifest
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.runs import Ref, write_ref
from models.pipelines.text_to_image import TextToImage
from models.resizing import Resize
from tasks.evaluate.measured import Measured
from tasks.evaluate.protocol import Counts, protocol
from tasks.sections import Clip, EvaluateJob, Extra
from tasks.stages import STAGES
from tests.docs.example import RECIPE, STAGE_ID, exemplified
from tests.docs.reference import DOCS, filled
from tests.golden.recorded import golden
from tests.infra.small_pairs import commit, shards
from tests.screens import IMAGES, LARGEST_BYTES
from tests.tasks import small_run

PAGES = sorted(DOCS.glob("*.md"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_is_generated_is_in_step(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert filled(text) == text, "say `python -m tests.docs`"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_named_files_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (DOCS / target).exists(), target
    for target in re.findall(r"`((?:flows|tasks|models|infra|docs)/[\w/.]+\.\w+)`", text):
        assert (DOCS.parent / target).exists(), target


def test_pictures_are_there_and_small() -> None:
    named = {name for page in PAGES for name in re.findall(r'<img src="([^"]+)"', page.read_text())}
    assert named == {f"images/{path.name}" for path in IMAGES.iterdir()}
    assert all(path.stat().st_size < LARGEST_BYTES for path in IMAGES.iterdir())


def test_every_promise_names_a_test_that_exists() -> None:
    rows = [line for line in (DOCS / "operations.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(rows) > 10
    for row in rows[1:]:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        for file, name in named:
            assert name in functions(DOCS.parent / file), f"{file}::{name}"


def functions(file: Path) -> set[str]:
    """The functions at the top of a module, as its source has them."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_example_is_a_manifest() -> None:
    (example,) = blocks("artifacts.md", "json")
    manifest = Manifest.from_bytes(example.encode(), "docs/artifacts.md")
    say = f"instaflow run {RECIPE} --store STORE, then python -m tests.docs STORE"
    assert json.loads(example) == manifest.model_dump(mode="json"), f"its fields are today's: {say}"
    assert base_of(manifest.stage, manifest.fingerprint) == golden(RECIPE)[STAGE_ID]["artifact"], say
    assert manifest.config == chain_of(load_recipe(RECIPE)).nodes[STAGE_ID].config.model_dump(mode="json"), say
    assert manifest.files and {*manifest.environment} == {*manifest.environments[0]}


def test_an_example_is_out_of_a_store(tmp_path: Path) -> None:
    page, store = (DOCS / "artifacts.md").read_text(encoding="utf-8"), open_store(tmp_path)
    made = commit(store, shards([3, 2]))
    write_ref(store, RECIPE, STAGE_ID, Ref(artifact=made.base, digest=made.digest, config={}, inputs={}))
    other = exemplified(page, store)
    told = json.loads(re.findall(r"```json\n(.*?)```", other, re.DOTALL)[0])
    assert told["fingerprint"] == made.fingerprint and told["environment"]["host"] == "laptop"
    assert [part["unit"] for part in told["units"]] == ["index", "shard-000000"]
    assert other.count(f"/pairs/{made.fingerprint[:8]}") == 2 and str(tmp_path) not in other


def test_every_stages_files_are_told() -> None:
    text = (DOCS / "artifacts.md").read_text(encoding="utf-8").partition("## What the stages leave")[2]
    assert {*STAGES} <= {*re.findall(r"`(\w+)`", text)}


def test_every_protocol_field_is_told(tmp_path: Path) -> None:
    captions = tmp_path / "captions.json"
    captions.write_text("{}")
    teacher = cast(TextToImage, SimpleNamespace(dtype="float32", decoder="AutoencoderKL", pixels_per_side=32))
    folder, extras = Folder.open(captions), get_args(Extra)
    job = EvaluateJob(extras=extras, dinov2_weights=str(tmp_path), cmmd_clip=Clip())
    found = protocol(job, dict.fromkeys(("judge", "real"), folder), captions, Counts(1, 1), teacher, Resize(32))
    told = {*re.findall(r"`([\w.]+)`", (DOCS / "metrics.md").read_text(encoding="utf-8"))}
    assert {*_dotted(found)} <= told | {"versions"}


def _dotted(values: Mapping[str, JsonValue]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and name != "versions":
            yield from (f"{name}.{inner}" for inner in value)
        else:
            yield name


def test_the_pyarrow_example_prints_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [Measured.model_validate(record).model_dump() for record in small_run.records()]
    (tmp_path / "demo").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "demo" / "metrics.parquet")
    monkeypatch.chdir(tmp_path)
    example = next(block for block in blocks("metrics.md", "python") if "pyarrow" in block)
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(example, {})
    assert printed.getvalue().count("frechet_distance") == len(rows)


def test_the_reading_example_reads(tmp_path: Path) -> None:
    made = commit(open_store(tmp_path / "demo" / "store"), shards([80, 48]))
    example = next(block for block in blocks("artifacts.md", "python") if "PairDataset" in block)
    (named,) = {*re.findall(r"/pairs/([0-9a-f]{8})", example)}
    (tmp_path / "example.py").write_text(example.replace(named, made.fingerprint[:8]), encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(DOCS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.count('torch.Size([64, 2, 3, 4]) torch.Size([64, 2, 3, 4]) prompt "') == 2


@pytest.mark.parametrize("name", bundled())
def test_bundled_recipes_load(name: str) -> None:
    assert load_recipe(name).name == name


def _samples(training: Any) -> int:
    return sum(phase.steps * phase.batch_size for phase in training.phases)


def test_sd15_has_the_published_numbers() -> None:
    recipe = load_recipe("sd15-instaflow-0.9b")
    pairs, reflow, distill = recipe.pairs, recipe.reflow, recipe.distill
    assert (pairs.solver, pairs.steps, pairs.guidance) == ("dpmsolver++", 25, 5.0)
    assert recipe.student_pairs.guidance == 1.5
    assert recipe.prompts.reflow_count + recipe.prompts.distill_count == 3_200_000
    assert [(p.batch_size, p.steps, p.learning_rate) for p in reflow.phases] == [
        (64, 70_000, 1e-6),
        (1024, 25_000, 1e-6),
    ]
    assert (reflow.parameterization, reflow.ema_decay, reflow.warmup_steps) == ("raw", 0.9999, 1000)
    assert [(p.loss, p.batch_size, p.steps) for p in distill.phases] == [
        ("l2", 1024, 21_500),
        ("perceptual", 1024, 18_000),
    ]
    assert _samples(recipe.direct) == _samples(reflow) + _samples(distill)
    assert (recipe.evaluate.num_images, recipe.evaluate.features) == (5000, "inception")


def test_the_stacked_one_has_the_published_numbers_and_shares_all_else() -> None:
    small, large = load_recipe("sd15-instaflow-0.9b"), load_recipe("sd15-instaflow-1.7b")
    assert large.distill.architecture == "stacked"
    assert [(p.loss, p.batch_size, p.steps) for p in large.distill.phases] == [
        ("l2", 64, 110_000),
        ("perceptual", 320, 2_500),
    ]
    kept = {"phases": small.distill.phases, "architecture": "same"}
    assert large.distill.model_copy(update=kept) == small.distill
    sections = ("teacher", "prompts", "pairs", "reflow", "student_pairs", "direct", "evaluate", "report")
    assert all(getattr(small, name) == getattr(large, name) for name in sections), "made once in one store"


def test_the_first_experiment_has_one_budget_with_reflow_and_without() -> None:
    recipe = load_recipe("sd14-preliminary")
    assert recipe.pairs.guidance == recipe.evaluate.teacher_guidance == 6.0 and recipe.direct.enabled
    assert _samples(recipe.direct) == _samples(recipe.reflow) + _samples(recipe.distill)


def test_sd15_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    chain, store = chain_of(load_recipe("sd15-instaflow-0.9b")), open_store(tmp_path / "store")
    for missing in ("data/coco2017", "weights/stable-diffusion-v1-5"):
        with pytest.raises(UserError, match=f"{missing}: no such file or folder"):
            plan(chain, store)
        Path(missing).mkdir(parents=True)


def test_the_small_run_of_sd15_has_fields_that_exist() -> None:
    (command,) = [block for block in blocks("teachers.md", "") if "--set" in block]
    overrides = re.findall(r"--set (?:'([^']+)'|(\S+))", command)
    recipe = load_recipe("sd15-instaflow-0.9b", [quoted or plain for quoted, plain in overrides])
    assert recipe.reflow.phases[0].steps == 100 and len(recipe.distill.phases) == 2


def test_the_protocols_are_recipes() -> None:
    *protocols, more = (yaml.safe_load(text) for text in blocks("evaluation.md", "yaml"))
    small, large = (parse_recipe({"name": "x", "world": None, **told}, "docs") for told in protocols)
    assert isinstance(small, Recipe) and isinstance(large, Recipe)
    every = parse_recipe({"name": "x", **more}, "docs")
    assert isinstance(every, Recipe) and every.evaluate.extras == get_args(Extra)
    assert (small.evaluate.real, large.evaluate.real) == ("captions", "split")
    assert (small.evaluate.num_images, small.evaluate.pictures.size) == (5_000, 512)
    assert (large.evaluate.num_images, large.evaluate.pictures.size) == (30_000, 256)
    assert large.coco.annotations == "annotations/captions_val2014.json"
