"""The contact sheet: the evaluation's pictures as they are, row by row, under their prompts."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file

from infra.artifact import Artifact
from tasks.evaluate.cells import Cell, cells
from tasks.report.contact_sheet import LARGEST, ContactSheet, Row, draw, read_contact_sheet, to_data_uri
from tasks.roles import DIRECT, RECTIFIED, STANDARD, STUDENT, TEACHER
from tasks.sections import EvaluateJob
from tests.tasks import small_run

INPUTS = [role.input for role in STANDARD]
CELLS = cells(EvaluateJob(steps=small_run.STEPS), INPUTS)
Pixels = NDArray[np.uint8]


def noisy(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def read(evaluation: Artifact, columns: int) -> ContactSheet:
    tensors, prompts = evaluation.fetch("contact.safetensors"), evaluation.fetch("contact.json")
    return read_contact_sheet(tensors, prompts, columns, CELLS)


def test_the_contact_sheet_holds_the_pictures_enlarged_without_blur(evaluation: Artifact) -> None:
    sheet = read(evaluation, 3)
    drawn = np.asarray(draw(sheet))
    for row in sheet.shown():
        assert len(row.pictures) == 3
        for picture in row.pictures:
            enlarged = picture.repeat(3, 0).repeat(3, 1)
            assert _holds(drawn, enlarged), f"{row.role.label} in {row.cell.label}"


def _holds(whole: Pixels, part: Pixels) -> bool:
    height, width, _ = part.shape
    starts = np.argwhere((whole == part[0, 0]).all(-1))
    return any(np.array_equal(whole[y : y + height, x : x + width], part) for y, x in starts)


def test_rows_come_in_the_order_of_the_roles_from_many_steps_to_few(tmp_path: Path) -> None:
    names = ("direct-1", "student-1", "2-rf-4", "2-rf-25", "teacher-4", "teacher-25")
    save_file({name: noisy(2, 3, 8, 8) for name in names}, tmp_path / "contact.safetensors")
    (tmp_path / "contact.json").write_text(json.dumps({"prompts": ["one", "two", "three"]}))
    files = (tmp_path / "contact.safetensors", tmp_path / "contact.json")
    sheet = read_contact_sheet(*files, 5, cells(EvaluateJob(steps=(4,)), INPUTS))
    assert [(row.role, row.steps) for row in sheet.rows] == [
        (TEACHER, 25), (TEACHER, 4), (RECTIFIED, 25), (RECTIFIED, 4), (STUDENT, 1), (DIRECT, 1),
    ]  # fmt: skip
    assert sheet.prompts == ["one", "two"], "as many as there are pictures"
    assert sheet.rows[0].pictures.shape == (2, 8, 8, 3)
    assert np.array_equal(sheet.rows[0].pictures[0, ..., 1], noisy(2, 3, 8, 8)[0, 1])


def test_models_at_their_most_steps_and_flows_in_few_tell_the_story() -> None:
    steps = {TEACHER: (25, 8, 1), RECTIFIED: (25, 8, 4, 1), STUDENT: (1,)}
    found = [Cell(role, count, 1.0, "euler") for role, counts in steps.items() for count in counts]
    sheet = ContactSheet(["one"], [Row(cell, noisy(1, 8, 8, 3)) for cell in found])
    assert [(row.role.name, row.cell.label) for row in sheet.shown()] == [
        ("teacher", "25 steps"), ("2-rf", "25 steps"), ("2-rf", "4 steps"), ("2-rf", "1 step"), ("student", "1 step"),
    ]  # fmt: skip
    assert [(row.role.name, row.steps) for row in sheet.others()] == [("teacher", 8), ("teacher", 1), ("2-rf", 8)]


@pytest.mark.parametrize("side", [32, LARGEST, LARGEST + 1, 512])
def test_a_picture_in_the_page_is_itself_unless_it_is_large(side: int) -> None:
    picture = noisy(side, side, 3)
    head, _, data = to_data_uri(picture).partition(",")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
    assert head == "data:image/png;base64"
    if side <= LARGEST:
        assert np.array_equal(found, picture)
    else:
        assert found.shape == (LARGEST, LARGEST, 3)


def test_a_prompt_of_any_length_stays_above_its_column() -> None:
    row = Row(Cell(TEACHER, 25, 1.0, "euler"), np.zeros((2, 32, 32, 3), np.uint8))
    sheets = [ContactSheet(["a", prompt], [row]) for prompt in ("b", "words " * 200, "x" * 2000)]
    short, many_words, one_word = (np.asarray(draw(sheet)) for sheet in sheets)
    assert short.shape[1] == many_words.shape[1] == one_word.shape[1]
    assert short.shape[0] < many_words.shape[0] < short.shape[0] + 6 * 15, "six lines at most"
    for drawn in (many_words, one_word):
        assert (drawn[:, -16:] == 255).all(), "nothing runs into the margin"
