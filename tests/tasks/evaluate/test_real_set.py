"""The captions of an evaluation and its real pictures follow from the caption file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.errors import UserError
from tasks.evaluate.real_set import captions_of, real_names
from tasks.sections import RealJob

JOB = RealJob(num_images=2)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Six pictures; the third has no caption."""
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(6)],
        "annotations": [{"id": number, "image_id": number, "caption": "a cat"} for number in (5, 4, 3, 1, 0)],
    }
    (tmp_path / "captions.json").write_text(json.dumps(content))
    return tmp_path / "captions.json"


def names(job: RealJob, annotations: Path) -> list[str]:
    return real_names(job, annotations, captions_of(job, annotations))


def test_the_real_pictures_are_those_of_the_captions_that_are_taken(annotations: Path) -> None:
    assert names(JOB, annotations) == ["0.png", "1.png", "3.png", "4.png"]
    assert names(JOB.model_copy(update={"reference": "none"}), annotations) == ["0.png", "1.png"]


def test_a_split_is_all_pictures_those_with_captions_first(annotations: Path) -> None:
    split = JOB.model_copy(update={"real": "split"})
    assert names(split, annotations) == ["0.png", "1.png", "3.png", "4.png", "5.png", "2.png"]
    assert names(split.model_copy(update={"reference": "none"}), annotations) == names(split, annotations)


def test_too_few_captions_are_refused(annotations: Path) -> None:
    with pytest.raises(UserError, match=r"^evaluate\.num_images: 3 pictures need 6 captions"):
        captions_of(JOB.model_copy(update={"num_images": 3}), annotations)
