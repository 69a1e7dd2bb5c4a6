"""The whole chain on the real stages: a newcomer's run, a killed one, and its models in stock diffusers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from diffusers import StableDiffusionPipeline
from PIL import Image

from flows.pipeline import PIPELINES
from flows.server.connection import connected
from infra.artifact import Artifact
from infra.store import open_store
from infra.upkeep.inventory import entries
from infra.upkeep.runs import list_runs, read_ref
from tasks.data.load import load_model
from tasks.evaluate.measured import read_metrics
from tasks.order import sample_noise
from tests import ROOT
from tests.golden.recorded import golden, require_same_bits

pytestmark = [pytest.mark.slow, pytest.mark.server, pytest.mark.usefixtures("standing_server")]

PROMPT = "a large red circle on a white background"


def command(store: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", "run", "tiny", "--store", str(store), *more]


def environment(prefect_home: Path) -> dict[str, str]:
    return os.environ | {"PREFECT_HOME": str(prefect_home)}


def run(prefect_home: Path, store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(store, *more),
        cwd=ROOT,
        env=environment(prefect_home),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def digests(store: Path) -> set[tuple[str, str]]:
    """Stage and manifest digest of every finished artifact."""
    found = [entry.artifact for entry in entries(open_store(store)) if entry.artifact is not None]
    return {(artifact.stage, artifact.digest) for artifact in found}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, prefect_home: Path) -> Path:
    """A folder with `store` and `out` of one run of the tiny recipe."""
    folder = tmp_path_factory.mktemp("tiny")
    done = run(prefect_home, folder / "store", "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    assert str(folder / "out" / "report.html") in done.stdout
    return folder


def test_the_run_leaves_report_contact_sheet_and_metrics(finished: Path) -> None:
    out = finished / "out"
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")
    assert min(Image.open(out / "contact_sheet.png").size) > 200
    records = read_metrics(out / "metrics.json").records
    assert {(record.model, record.steps) for record in records} == {
        *((model, steps) for model in ("teacher", "2-rf") for steps in (1, 2, 4)),
        *((model, 1) for model in ("student", "direct")),
        ("floor", 4),
    }
    teacher = next(record for record in records if (record.model, record.steps) == ("teacher", 4))
    # the embedded teacher is trained: in four steps it already draws what the prompt says, more often than not
    assert teacher.attribute_accuracy is not None and teacher.attribute_accuracy > 0.5


def test_every_artifact_is_what_it_always_was(finished: Path) -> None:
    require_same_bits()
    store = open_store(finished / "store")
    made = {stage_id: read_ref(store, "tiny", stage_id) for stage_id in golden("tiny")}
    assert {stage_id: ref and ref.digest for stage_id, ref in made.items()} == {
        stage_id: one["digest"] for stage_id, one in golden("tiny").items()
    }


def test_the_second_run_makes_nothing(finished: Path, prefect_home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "store").rglob("manifest.json")}
    assert run(prefect_home, finished / "store").returncode == 0
    assert {path: path.stat().st_mtime_ns for path in (finished / "store").rglob("manifest.json")} == before
    last = max(list_runs(open_store(finished / "store")), key=lambda record: record.started_at)
    assert {stage.state for stage in last.stages} == {"cached"}


def test_the_prefect_flow_finds_the_same_artifacts(finished: Path) -> None:
    with connected():
        report = PIPELINES["instaflow"](str(finished / "store"), "tiny")
    assert report is not None and Artifact.find(open_store(finished / "store"), report).stage == "report"


def test_killed_it_goes_on_and_ends_with_the_same_artifacts(finished: Path, prefect_home: Path, tmp_path: Path) -> None:
    """In the 2-rectified flow: what is before and after it is killed in `resilience`."""
    store, until = tmp_path / "store", ("--until", "reflow-1")
    kill_when(store, "reflow/*/checkpoints/*/step-00000010.json", prefect_home, *until)
    assert digests(store) < digests(finished / "store")
    done = run(prefect_home, store, *until)
    assert done.returncode == 0, done.stderr
    assert digests(store) < digests(finished / "store")
    made, expected = (read_ref(open_store(folder), "tiny", "reflow-1") for folder in (store, finished / "store"))
    assert made is not None and expected is not None and made.digest == expected.digest


def kill_when(store: Path, reached: str, prefect_home: Path, *more: str) -> None:
    """Start a run and SIGKILL it as soon as a file of that pattern is in the store."""
    process = subprocess.Popen(
        command(store, *more),
        cwd=ROOT,
        env=environment(prefect_home),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 120
        while not list(store.glob(reached)):
            assert process.poll() is None, f"the run ended before {reached}"
            assert time.monotonic() < deadline, f"never reached {reached}"
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize(("stage_id", "steps", "guidance"), [
    ("distill", 1, 1.0), *(("reflow-1", steps, guidance) for steps in (1, 2, 4) for guidance in (1.0, 1.5)),
])  # fmt: skip
def test_stock_diffusers_draws_the_same_picture(finished: Path, stage_id: str, steps: int, guidance: float) -> None:
    store = open_store(finished / "store")
    ref = json.loads(store.read(f"refs/tiny/{stage_id}.json"))
    artifact = Artifact.find(store, ref["artifact"])
    noise = sample_noise([7], (4, 8, 8))
    model = load_model(artifact)
    ours = model.decode(model.sample(noise, [PROMPT], steps, guidance, "euler"))[0].permute(1, 2, 0).numpy()

    stock = StableDiffusionPipeline.from_pretrained(artifact.folder("model"))
    theirs = stock(PROMPT, num_inference_steps=steps, guidance_scale=guidance, latents=noise, output_type="np")
    gap = np.abs(ours.astype(int) - (theirs.images[0] * 255).round())
    assert gap.max() <= 2 and ours.std() > 10
