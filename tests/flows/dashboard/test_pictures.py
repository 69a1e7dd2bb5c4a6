"""Strips of pictures: the evaluation's own, read without the rest of the file."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from flows.dashboard.pictures import COLUMNS, draw_strip, prompts, strip_path
from flows.observed.evaluations import Evaluation
from infra.store import open_store
from tasks.data.strip import SIDE, gap
from tests.flows.observed.small_store import Small
from tests.tasks.small_run import NASTY


@pytest.fixture
def found(small: Small) -> Evaluation:
    return small.known.evaluations[small.made["evaluate"].base]


def test_a_strip_is_of_the_evaluations_own_pictures(found: Evaluation) -> None:
    (file,) = found.artifact.files("contact.safetensors")
    cell = next(one for one in found.cells if one.name == "student-1")
    data = draw_strip(found, cell, file)
    assert data is not None
    strip = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    pictures = load_file(found.artifact.fetch(file))[cell.name].transpose(0, 2, 3, 1)
    factor = SIDE // pictures.shape[1]
    for number in range(COLUMNS):
        shown = strip[:, number * (SIDE + gap()) :][:, :SIDE]
        assert (shown == pictures[number].repeat(factor, 0).repeat(factor, 1)).all()


def test_what_is_drawn_is_told(found: Evaluation) -> None:
    assert prompts(found)[0] == NASTY and len(prompts(found)) == COLUMNS


def test_the_name_says_what_it_depends_on(small: Small, found: Evaluation) -> None:
    (file,) = found.artifact.files("contact.safetensors")
    paths = {strip_path(found, cell, file) for cell in found.cells}
    assert len(paths) == len(found.cells) and all(path.startswith(f"pictures/{file.sha256[:16]}") for path in paths)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 100,
        (2).to_bytes(8, "little") + b"{}",
        (60).to_bytes(8, "little") + json.dumps({"student-1": {"dtype": "F32", "shape": [1]}}).encode().ljust(60),
    ],
)
def test_what_is_no_file_of_pictures_is_left_out(content: bytes, found: Evaluation) -> None:
    (file,) = found.artifact.files("contact.safetensors")
    store = open_store("memory://pictures")
    store.write(f"{found.base}/{file.path}", content)
    artifact = type(found.artifact)(store, found.base, found.artifact.manifest)
    other = Evaluation(artifact, found.metrics, found.roles, found.models, found.cells)
    assert draw_strip(other, next(one for one in found.cells if one.name == "student-1"), file) is None
    assert prompts(other) == []
