"""What the judges see of the real pictures: an artifact of its own, whatever models are evaluated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from infra.artifact import Artifact, Folder, Source
from infra.errors import UserError
from infra.store import Store
from infra.store.local import LocalStore
from models.clip import load_clip
from models.resizing import Resize
from tasks.data.coco import read_captions
from tasks.data.picture_batches import read_image
from tasks.evaluate.real import Real
from tasks.progress import Progress, silent
from tasks.sections import Clip, EvaluateJob, Pictures, RealJob
from tasks.stage import run_stage, stage_fingerprint
from tasks.stages import STAGES
from tests.models.judges import networks
from tests.tasks.conftest import PERF, Killed, killed_after

SIZED = Pictures(size=24)
JOB = RealJob(num_images=5, shard_size=4, pictures=SIZED)
EVALUATE = EvaluateJob(num_images=5, shard_size=4, pictures=SIZED)


@pytest.fixture(scope="module")
def inputs(coco: Artifact, clip: Folder) -> dict[str, Source]:
    return {"coco": coco, "judge": clip}


@pytest.fixture(scope="module")
def real(inputs: dict[str, Source], shared: Store) -> Artifact:
    return run(inputs, shared)


def run(inputs: dict[str, Source], store: Store, job: RealJob = JOB, progress: Progress = silent) -> Artifact:
    return run_stage(STAGES["real"], job, inputs, store, PERF, progress)


def test_pictures_and_captions_are_as_the_judges_see_them(
    real: Artifact, inputs: dict[str, Source], clip: Folder
) -> None:
    coco, judge = inputs["coco"].folder("coco"), load_clip(str(clip.path), None)
    captions = read_captions(coco / JOB.coco.annotations)[:10]
    pictures = [read_image(coco / "val2017" / one.file_name, Resize(24, "lanczos")) for one in captions]
    expected = judge.image_features(torch.stack(pictures))
    found = Real({**inputs, "real": real}, EVALUATE)
    torch.testing.assert_close(found.own("features"), expected[:5])
    torch.testing.assert_close(found.others("features"), expected[5:])
    torch.testing.assert_close(found.texts, judge.text_features([one.text for one in captions]))
    assert (found.size, found.pictures) == (24, 10)
    assert real.manifest.metrics == {"pictures": 10, "captions": 10, "size": 24}
    assert {file.name for file in real.manifest.files} == {f"real.0000{n}.safetensors" for n in range(3)}
    for name in ("real.00000.safetensors", "real.00002.safetensors"):
        assert {one.dtype for one in load_file(real.fetch(name)).values()} == {torch.float32}


def test_no_model_is_part_of_its_identity(inputs: dict[str, Source], teacher: Folder, flow: Folder) -> None:
    def identity(evaluate: EvaluateJob, **more: Source) -> str:
        return stage_fingerprint(STAGES["real"], RealJob.of(evaluate, evaluate.coco), {**inputs, **more})

    usual = identity(EVALUATE)
    for told in ({"steps": (3,), "teacher_steps": 2, "seed": 7, "straightness_images": 1}, {"extras": ("kid",)}):
        assert identity(EVALUATE.model_copy(update=told)) == usual, told
    for told in ({"num_images": 4}, {"real": "split"}, {"clip": Clip(prompt_prefix="a ")}, {"pictures": Pictures()}):
        assert identity(EVALUATE.model_copy(update=told)) != usual, told
    assert identity(EVALUATE, judge=flow) != usual


def test_without_a_size_it_is_the_teachers(inputs: dict[str, Source], teacher: Folder, store: Store) -> None:
    job = JOB.model_copy(update={"pictures": Pictures()})
    assert run({**inputs, "teacher": teacher}, store, job).manifest.metrics["size"] == 32
    with pytest.raises(UserError, match=r"^evaluate\.pictures\.size: null, and no input teacher"):
        run(inputs, store, job)


def test_a_whole_split_is_seen_the_pictures_without_captions_too(
    inputs: dict[str, Source], store: Store, tmp_path: Path
) -> None:
    told = json.loads((inputs["coco"].folder("coco") / "annotations" / "captions_val2017.json").read_text())
    folder = tmp_path / "coco"
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").symlink_to(inputs["coco"].folder("coco") / "val2017")
    last = max(one["id"] for one in told["images"])
    told["annotations"] = [one for one in told["annotations"] if one["image_id"] != last]
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(told))
    coco = {**inputs, "coco": Folder.open(folder, "coco")}
    job, evaluate = (one.model_copy(update={"real": "split", "num_images": 4}) for one in (JOB, EVALUATE))
    shown: list[tuple[int, int, str]] = []
    made = run(coco, store, job, lambda *at: shown.append(at))
    found = Real({**coco, "real": made}, evaluate)
    assert found.pictures == len(found.own("features")) == 12 and len(found.texts) == 8
    assert len(found.without_others("features")) == 8, "the floor compares the others with all else"
    assert found.without_others("features")[:4].equal(found.own("features")[:4])
    assert shown[-1] == (2, 2, "shards")


def test_stopped_and_repeated_it_is_the_same(real: Artifact, inputs: dict[str, Source], tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(Killed):
        run(inputs, store, progress=killed_after(2))
    assert len([path for path in store.list("real") if "/units/" in path]) == 1, "one shard of three"
    assert run(inputs, store).digest == real.digest


def test_every_judge_sees_them_in_one_pass(inputs: dict[str, Source], store: Store, tmp_path: Path) -> None:
    networks.inception(tmp_path / "inception.pth")
    networks.dinov2(tmp_path / "dinov2")
    networks.clip(tmp_path / "clip.pt")
    job = JOB.model_copy(
        update={
            "num_images": 2,
            "features": "inception",
            "inception_weights": str(tmp_path / "inception.pth"),
            "extras": ("cmmd", "dinov2"),
            "dinov2_weights": str(tmp_path / "dinov2"),
            "cmmd_clip": Clip(architecture="ViT-S-32-alt", weights=str(tmp_path / "clip.pt")),
        }
    )
    shard = load_file(run(inputs, store, job).fetch("real.00000.safetensors"))
    assert {name: [*one.shape] for name, one in shard.items()} == {
        "features": [4, 2048], "dinov2": [4, 32], "cmmd": [4, 256], "texts": [4, shard["texts"].shape[1]],
    }  # fmt: skip


def test_an_evaluation_takes_only_what_was_made_for_it(real: Artifact, inputs: dict[str, Source], flow: Folder) -> None:
    given = {**inputs, "real": real}
    with pytest.raises(UserError, match=r"the input real \(.*\) was made with another clip, num_images; do the stage"):
        Real(given, EVALUATE.model_copy(update={"num_images": 4, "clip": Clip(prompt_prefix="a ")}))
    with pytest.raises(UserError, match="was made with another judge;"):
        Real({**given, "judge": flow}, EVALUATE)
    with pytest.raises(UserError, match="a plain folder; expected the artifact of a stage"):
        Real({**given, "real": flow}, EVALUATE)
