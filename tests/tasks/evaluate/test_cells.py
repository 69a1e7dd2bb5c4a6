"""The cells of an evaluation follow from its roles, its steps and the models that are there."""

from __future__ import annotations

from tasks.evaluate.cells import (
    SPEED,
    captions_needed,
    cells,
    first_of,
    present,
    real_shards,
    sets_of_pictures,
    shard_id,
    shards,
    simulated,
    straightness_id,
)
from tasks.roles import RECTIFIED, STANDARD, TEACHER
from tasks.sections import EvaluateJob
from tasks.stages import STAGES

JOB = EvaluateJob(num_images=10, steps=(8, 1, 4, 8), teacher_steps=4, teacher_guidance=5.0, rectified_guidance=1.5)
ALL = [role.input for role in STANDARD]
DRAWN = TEACHER.model_copy(update={"name": "drawn", "input": "drawn", "own_teacher": None, "sampling": "drawn"})
THIRD = RECTIFIED.model_copy(update={"name": "3-rf", "input": "third"})


def test_a_model_is_measured_at_the_references_steps_first_then_from_many_to_few() -> None:
    found = [(cell.name, cell.guidance, cell.solver) for cell in cells(JOB, ALL)]
    assert found == [
        ("teacher-4", 5.0, "dpmsolver++"), ("teacher-8", 5.0, "dpmsolver++"), ("teacher-1", 5.0, "dpmsolver++"),
        ("2-rf-4", 1.5, "euler"), ("2-rf-8", 1.5, "euler"), ("2-rf-1", 1.5, "euler"),
        ("student-1", 1.0, "euler"), ("direct-1", 1.0, "euler"),
    ]  # fmt: skip


def test_every_model_comes_after_the_one_that_it_is_compared_with() -> None:
    names = [cell.name for cell in cells(JOB, ALL)]
    for cell in cells(JOB, ALL):
        own_teacher = f"{cell.role.own_teacher}-{JOB.teacher_steps}"
        assert names.index(own_teacher) <= names.index(cell.name)


def test_only_models_that_are_there_are_measured() -> None:
    assert [role.name for role in present(JOB, ["student", "teacher", "coco"])] == ["teacher", "student"]
    assert [cell.name for cell in cells(JOB, ["direct"])] == ["direct-1"]
    assert cells(JOB, ["coco"]) == []


def test_one_step_is_straight_and_not_simulated() -> None:
    assert simulated(JOB, ALL) == [TEACHER, RECTIFIED]
    assert simulated(JOB, ["student"]) == []


def test_a_role_more_is_a_row_more() -> None:
    job = JOB.model_copy(update={"roles": (*STANDARD, THIRD)})
    more = [cell.name for cell in cells(job, [*ALL, "third"])]
    assert more == [cell.name for cell in cells(JOB, ALL)] + ["3-rf-4", "3-rf-8", "3-rf-1"]
    assert straightness_id(THIRD) == "straightness-3-rf"


def test_the_teacher_is_swept_over_guidance_its_own_first() -> None:
    job = JOB.model_copy(update={"steps": (4, 1), "guidances": (2.0, 5.0, 7.5)})
    found = cells(job, ["teacher", "rectified"])
    assert [(cell.name, cell.guidance) for cell in found] == [
        ("teacher-4-g5", 5.0), ("teacher-4-g2", 2.0), ("teacher-4-g7.5", 7.5),
        ("teacher-1-g5", 5.0), ("teacher-1-g2", 2.0), ("teacher-1-g7.5", 7.5),
        ("2-rf-4", 1.5), ("2-rf-1", 1.5),
    ]  # fmt: skip
    assert [cell.label for cell in found[3:7]] == [
        "1 step, guidance 5", "1 step, guidance 2", "1 step, guidance 7.5", "4 steps",
    ]  # fmt: skip
    assert first_of("teacher", found) == found[0] and first_of("2-rf", found).name == "2-rf-4"


def test_guidance_that_is_not_swept_changes_no_identity() -> None:
    same = JOB.model_copy(update={"guidances": (5.0,)})
    assert "guidances" not in JOB.identity() and "guidances" in same.identity()
    assert [cell.name for cell in cells(same, ALL)] == [cell.name for cell in cells(JOB, ALL)]


def test_pictures_that_were_drawn_elsewhere_are_one_cell() -> None:
    job = JOB.model_copy(update={"roles": (DRAWN,), "reference": "none"})
    (cell,) = cells(job, ["drawn", "coco"])
    assert (cell.name, cell.label, cell.steps, cell.solver) == ("drawn", "as they are", None, None)
    assert simulated(job, ["drawn"]) == []
    units = STAGES["evaluate"].extent(job, ["drawn", "coco"])
    assert SPEED not in units.ids and units.cost == 0 and shard_id("drawn", 0) in units.ids


def test_a_reference_takes_as_many_captions_again() -> None:
    alone = JOB.model_copy(update={"reference": "none"})
    assert (captions_needed(JOB), captions_needed(alone)) == (20, 10)
    assert sets_of_pictures(JOB) == ("reference",) and sets_of_pictures(alone) == ()


def test_shards_cover_every_picture_once() -> None:
    for size in (1, 3, 10, 11):
        found = shards(JOB.model_copy(update={"shard_size": size}))
        assert [picture for shard in found for picture in shard] == [*range(10)]
        assert all(len(shard) == size for shard in found[:-1])
    assert shard_id("2-rf-4", 3) == "2-rf-4.00003"


def test_real_pictures_come_in_as_many_shards_as_captions_whatever_their_number() -> None:
    job = JOB.model_copy(update={"shard_size": 8})
    for count in (20, 23, 2):
        found = real_shards(job, count)
        assert len(found) == 3 and [one for shard in found for one in shard] == [*range(count)]
    assert max(map(len, real_shards(job, 20))) <= 8
