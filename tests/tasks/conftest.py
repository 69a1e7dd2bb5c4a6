"""A miniature data set, an untrained teacher, flow and CLIP, and pairs of them: made once, by the real stages."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.store import Store
from infra.store.local import LocalStore
from tasks.progress import silent
from tasks.sections import PairsJob, Performance, PromptsJob, World
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.models import untrained

PERF = Performance(sample_batch_size=8, throughput_batch_sizes=(1, 2))
PAIRS = PairsJob(steps=2, guidance=2.0, shard_size=8, max_abs_latent=1000.0, part="reflow")
"""An untrained teacher's latents are large."""


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="session")
def shared(base: Path) -> Store:
    """The store of what the tests only read."""
    return LocalStore(base / "store")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return LocalStore(tmp_path / "store")


@pytest.fixture(scope="session")
def teacher(base: Path) -> Folder:
    return Folder.open(untrained.teacher_folder(base / "teacher"), "model")


@pytest.fixture(scope="session")
def flow(base: Path, teacher: Folder) -> Folder:
    return Folder.open(untrained.flow_folder(teacher.path, base / "flow"), "model")


@pytest.fixture(scope="session")
def large_flow(base: Path, flow: Folder) -> Folder:
    """The same flow at twice the side: its pictures of 64 pixels fit no judge of the miniature world."""
    shutil.copytree(flow.path, base / "large")
    config = base / "large" / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": 16}))
    return Folder.open(base / "large", "model")


@pytest.fixture(scope="session")
def clip(base: Path) -> Folder:
    return Folder.open(untrained.clip_folder(base / "clip"), "clip")


@pytest.fixture(scope="session")
def judge(base: Path) -> Folder:
    """Another CLIP and an attribute reader, which nothing is trained with."""
    return Folder.open(untrained.clip_folder(base / "judge", "resnet"), "clip")


@pytest.fixture(scope="session")
def coco(shared: Store) -> Artifact:
    config = World(val_images=12, train_images=20, captions_per_image=2)
    return run_stage(STAGES["world"], config, {}, shared, PERF, silent)


@pytest.fixture(scope="session")
def prompts(shared: Store, coco: Artifact) -> Artifact:
    config = PromptsJob(reflow_count=20, distill_count=4)
    return run_stage(STAGES["prompts"], config, {"coco": coco}, shared, PERF, silent)


@pytest.fixture(scope="session")
def pairs(shared: Store, teacher: Folder, prompts: Artifact) -> Artifact:
    """20 pairs in shards of 8, 8 and 4."""
    inputs = {"teacher": teacher, "prompts": prompts}
    return run_stage(STAGES["pairs"], PAIRS, inputs, shared, PERF, silent)


@pytest.fixture(scope="session")
def student_pairs(shared: Store, flow: Folder, prompts: Artifact) -> Artifact:
    """20 pairs of the untrained flow."""
    config = PAIRS.model_copy(update={"solver": "euler", "steps": 4, "guidance": 6.0})
    inputs = {"teacher": flow, "prompts": prompts}
    return run_stage(STAGES["pairs"], config, inputs, shared, PERF, silent)


class Killed(BaseException):
    """Stands for kill -9: nothing in the code under test may catch it."""


def killed_after(calls: int) -> Callable[[int, int, str], None]:
    """A progress that dies when it has been told of that many pieces of work, beside what was there at first."""
    told, before = 0, -1

    def progress(done: int, total: int, unit: str) -> None:
        nonlocal told, before
        told += before >= 0 and done > before
        before = done
        if told == calls:
            raise Killed

    return progress
