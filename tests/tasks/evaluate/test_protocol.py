"""What stands beside every number names every file it depends on by content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import JsonValue

from infra.artifact import Artifact, Folder, Source
from models.pipelines.opening import open_pipeline
from models.resizing import Resize
from tasks.evaluate.protocol import protocol
from tasks.sections import Clip, EvaluateJob

JOB = EvaluateJob(num_images=4, teacher_steps=2, straightness_images=3, seed=7)


@pytest.fixture
def inputs(teacher: Folder, clip: Folder) -> dict[str, Source]:
    return {"teacher": teacher, "clip": clip}


def told(job: EvaluateJob, inputs: Mapping[str, Source], coco: Artifact, teacher: Folder) -> dict[str, JsonValue]:
    return protocol(
        job, inputs, coco.folder("coco") / job.coco.annotations, open_pipeline(teacher.path), Resize(24, "bicubic")
    )


def test_the_numbers_stand_beside_what_they_depend_on(
    inputs: dict[str, Source], coco: Artifact, teacher: Folder
) -> None:
    found = told(JOB, inputs, coco, teacher)
    annotations = coco.folder("coco") / JOB.coco.annotations
    assert found["captions"] == {
        "file": "captions_val2017.json",
        "sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
        "rule": "lowest annotation id with words per image",
    }
    assert found["seeds"] == "per image: sha256 of '7/evaluate/<index>'"
    assert found["straightness"] == "per element, guided, Euler 2 steps, N 3"
    assert (found["dtype"], found["size"], found["autoencoder"]) == ("torch.float32", 24, "AutoencoderKL")
    assert found["generated"] == "32 px; PIL bicubic, antialiased, 24 px"
    assert str(found["reference_coco"]).endswith("centre crop on the long edge; PIL bicubic, antialiased, 24 px")
    assert found["features_digest"] == inputs["clip"].digest
    assert isinstance(found["clip"], dict) and found["clip"]["digest"] == inputs["clip"].digest


def test_weights_named_by_path_are_told_by_content(
    inputs: dict[str, Source], coco: Artifact, teacher: Folder, tmp_path: Path
) -> None:
    for name in ("clip.bin", "inception.pth"):
        (tmp_path / name).write_text(name)
    job = JOB.model_copy(
        update={
            "clip": Clip(architecture="ViT-g-14", weights=str(tmp_path / "clip.bin"), prompt_prefix="a photo of "),
            "features": "inception",
            "inception_weights": str(tmp_path / "inception.pth"),
        }
    )
    found = told(job, {"teacher": inputs["teacher"]}, coco, teacher)
    assert found["features_digest"] == hashlib.sha256(b"inception.pth").hexdigest()
    assert found["clip"] == {
        "architecture": "ViT-g-14",
        "tag": None,
        "prompt_prefix": "a photo of ",
        "scale": "cosine x 1",
        "digest": hashlib.sha256(b"clip.bin").hexdigest(),
    }
