"""What is told of a stage before anything is computed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tasks.preflight import Foreseen, absent_files, faults, model_faults, picture_files
from tasks.sections import Clip, Direct, Distill, EvaluateJob, PairsJob, Perceptual, PromptsJob, RealJob, Reflow, World
from tests import ROOT
from tests.models import untrained

LPIPS = Perceptual(kind="lpips", network="alex")


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained.teacher_folder(tmp_path_factory.mktemp("teacher") / "model")


@pytest.fixture(scope="session")
def flow(teacher: Path) -> Path:
    return untrained.flow_folder(teacher, teacher.parent / "flow")


def told(config: object, **inputs: Foreseen) -> list[str]:
    return [*faults(config, inputs, "here")]  # type: ignore[arg-type]


def test_a_solver_that_the_model_does_not_have(teacher: Path, flow: Path) -> None:
    reflow = Foreseen(config=Reflow(parameterization="raw"))
    for model in (Foreseen(folder=flow), reflow):
        (only,) = told(PairsJob(solver="ddim"), teacher=model)
        assert only.startswith("here.solver: ") and "ddim" in only and "euler" in only
        assert told(PairsJob(solver="euler"), teacher=model) == []
    assert told(PairsJob(solver="ddim"), teacher=Foreseen(folder=teacher)) == []
    assert told(PairsJob(solver="ddim"), teacher=Foreseen(folder=teacher / "unet")) == [], (
        "told by the folder's own check"
    )
    (only,) = told(EvaluateJob(teacher_solver="ddim"), teacher=Foreseen(folder=flow), coco=Foreseen())
    assert only.startswith("here.teacher_solver: ")


def test_a_folder_that_is_no_model(teacher: Path, tmp_path: Path) -> None:
    assert [*model_faults(teacher, "teacher.path")] == []
    (only,) = model_faults(tmp_path, "teacher.path")
    assert only.startswith("teacher.path: ") and "no model_index.json" in only


def test_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "there.txt").touch()
    assert [*absent_files(PromptsJob(source="text", path=str(tmp_path / "there.txt")), "prompts")] == []
    (only,) = absent_files(Distill(perceptual=Perceptual(kind="lpips", trunk_weights="/nowhere/vgg.pth")), "distill")
    assert only.startswith("distill.perceptual.trunk_weights: /nowhere/vgg.pth: no such file or folder. Check the path")


@pytest.mark.parametrize("kind", [Distill, Direct])
def test_the_trunk_comes_from_torchvisions_cache_or_is_asked_for(
    kind: type[Distill], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    asked = kind(perceptual=LPIPS)
    assert asked.located() == asked
    (only,) = told(asked.located())
    cached = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    assert only.startswith(f"here.perceptual.trunk_weights: null, and torchvision's cache has no {cached}. Put")
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"<html>")
    located = asked.located()
    assert located.perceptual.trunk_weights == str(cached) and located.identity() == asked.identity()
    (only,) = told(located)
    assert only.startswith(f"here.perceptual.trunk_weights: {cached}: no whole file of weights: neither safetensors")
    no_pictures = asked.model_copy(update={"phases": asked.phases[:1]})
    assert no_pictures.located() == no_pictures and told(no_pictures) == [], "it compares none"


def test_judges_of_another_name_or_network(tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"a": torch.zeros(2)}, other)
    config = RealJob(
        features="inception", inception_weights=str(other), clip=Clip(architecture="ViT-g14", weights=str(other))
    )
    inception, clip = told(config, coco=Foreseen())
    assert inception.startswith(f"here.inception_weights: {other}: holds 1 tensors, no Conv2d_1a_3x3.conv.weight;")
    assert clip.startswith("here.clip.architecture: clip architecture 'ViT-g14': open_clip has no such one; nearest: ")
    config = RealJob(clip=Clip(architecture="ViT-B-32", weights=str(other)))
    (only,) = told(config, coco=Foreseen())
    assert only.startswith(f"here.clip.weights: {other}: a picture tower: found False")
    more = RealJob(
        extras=("cmmd", "dinov2"),
        cmmd_clip=Clip(architecture="ViT-B-32", weights=str(other)),
        dinov2_weights=str(tmp_path),
    )
    dinov2, cmmd = told(more, coco=Foreseen())
    assert dinov2.startswith("here.dinov2_weights: dinov2 weights: no file ")
    assert cmmd.startswith(f"here.cmmd_clip.weights: {other}: a picture tower: found False")
    absent = more.model_copy(update={"dinov2_weights": "/nowhere/dinov2"})
    assert [*absent_files(absent, "evaluate")][0].startswith("evaluate.dinov2_weights: /nowhere/dinov2: no such file")


def test_pictures_and_captions_are_counted(tmp_path: Path) -> None:
    config = RealJob(num_images=4)
    assert told(config, coco=Foreseen(config=World(val_images=8))) == []
    (only,) = told(config, coco=Foreseen(config=World(val_images=7)))
    assert only == (
        "here.num_images: 4 pictures need 8 captions, half of them for the reference, and"
        ' annotations/captions_val2017.json holds 7. Set num_images to 3 or less or evaluate.reference to "none", or'
        " name a larger caption file."
    )
    coco = captions(tmp_path, 7)
    assert told(config, coco=Foreseen(folder=coco)) == [only]
    assert picture_files(config, coco) == (coco / "val2017", [f"{number}.png" for number in range(7)])
    without = config.model_copy(update={"reference": "none"})
    assert picture_files(without, coco)[1] == [f"{number}.png" for number in range(4)]
    assert len(picture_files(without.model_copy(update={"real": "split"}), coco)[1]) == 7
    (coco / config.coco.annotations).write_text("{")
    (only,) = told(config, coco=Foreseen(folder=coco))
    assert only.startswith("coco.annotations: ") and "broken JSON" in only


def captions(folder: Path, count: int) -> Path:
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(count)],
        "annotations": [{"id": number, "image_id": number, "caption": "a cat"} for number in range(count)],
    }
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    return folder


def test_it_is_light() -> None:
    code = "import sys, tasks.preflight, flows.run.preflight; assert not {'torch', 'diffusers'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_headers_of_prompts_are_read_and_what_is_absent_is_told_once(tmp_path: Path) -> None:
    config = PromptsJob(source="parquet", path=str(tmp_path / "laion.parquet"))
    assert len([*absent_files(config, "prompts")]) == 1 and not [*faults(config, {}, "prompts")]
    pq.write_table(pa.table({"caption": ["a red ring"]}), tmp_path / "laion.parquet")
    (found,) = faults(config, {}, "prompts")
    assert found.startswith("prompts.column: ") and "caption" in found
