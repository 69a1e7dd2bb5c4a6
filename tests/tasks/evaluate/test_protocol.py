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
from tasks.evaluate.protocol import Counts, protocol
from tasks.sections import Clip, EvaluateJob

JOB = EvaluateJob(num_images=4, teacher_steps=2, straightness_images=3, seed=7)


@pytest.fixture
def inputs(teacher: Folder, clip: Folder) -> dict[str, Source]:
    return {"teacher": teacher, "judge": clip, "real": clip}


def told(job: EvaluateJob, inputs: Mapping[str, Source], coco: Artifact, teacher: Folder) -> dict[str, JsonValue]:
    annotations = coco.folder("coco") / job.coco.annotations
    return protocol(job, inputs, annotations, Counts(12, 14), open_pipeline(teacher.path), Resize(24, "bicubic"))


def test_the_numbers_stand_beside_what_they_depend_on(
    inputs: dict[str, Source], coco: Artifact, teacher: Folder
) -> None:
    found = told(JOB, inputs, coco, teacher)
    annotations = coco.folder("coco") / JOB.coco.annotations
    assert found["captions"] == {
        "file": "captions_val2017.json",
        "sha256": hashlib.sha256(annotations.read_bytes()).hexdigest(),
        "rule": "lowest annotation id with words per image",
        "pictures": 12,
    }
    assert found["evaluated"] == "captions 1 to 4 of 12"
    assert found["reference"] == "teacher, 2 steps, captions 5 to 8 of 12, other seeds"
    assert found["seeds"] == "per image: sha256 of '7/evaluate/<index>', numpy's Philox"
    assert found["straightness"] == "per element, guided, Euler 2 steps, N 3"
    assert (found["dtype"], found["size"], found["autoencoder"]) == ("torch.float32", 24, "AutoencoderKL")
    assert found["generated"] == "32 px; PIL bicubic, antialiased, 24 px"
    assert str(found["reference_coco"]).endswith("centre crop on the long edge; PIL bicubic, antialiased, 24 px")
    assert found["real"] == {"set": "captions", "digest": inputs["real"].digest} and found["extras"] == {}
    assert found["features_digest"] == inputs["judge"].digest
    assert isinstance(found["clip"], dict) and found["clip"]["digest"] == inputs["judge"].digest


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
    found = told(job, {name: inputs[name] for name in ("teacher", "real")}, coco, teacher)
    assert found["features_digest"] == hashlib.sha256(b"inception.pth").hexdigest()
    assert found["clip"] == {
        "architecture": "ViT-g-14",
        "tag": None,
        "prompt_prefix": "a photo of ",
        "scale": "cosine x 1",
        "digest": hashlib.sha256(b"clip.bin").hexdigest(),
    }


def test_a_whole_split_is_told_as_one(inputs: dict[str, Source], coco: Artifact, teacher: Folder) -> None:
    found = told(JOB.model_copy(update={"real": "split"}), inputs, coco, teacher)
    assert str(found["reference_coco"]).startswith("all 14 pictures of captions_val2017.json; upright, ")
    assert str(found["floor"]).endswith(
        "real: own pictures of captions 5 to 8 of 12 against all other pictures of reference_coco"
    )


def test_further_distances_are_told_with_their_networks(
    inputs: dict[str, Source], coco: Artifact, teacher: Folder, tmp_path: Path
) -> None:
    (tmp_path / "config.json").write_text("{}")
    job = JOB.model_copy(
        update={
            "extras": ("kid", "precision_recall", "dinov2", "cmmd"),
            "dinov2_weights": str(tmp_path),
            "cmmd_clip": Clip(),
        }
    )
    extras = told(job, inputs, coco, teacher)["extras"]
    assert isinstance(extras, dict) and [*extras] == [*job.extras]
    assert extras["kid"] == "the same features, 100 subsets of 4, no interval"
    assert extras["dinov2"] == {
        "digest": Folder.open(tmp_path).digest,
        "size": "224 px, PIL bicubic, antialiased",
    }
    assert isinstance(extras["cmmd"], dict) and extras["cmmd"]["digest"] == inputs["judge"].digest
