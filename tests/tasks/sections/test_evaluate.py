"""An evaluation is told of the models by their roles."""

from __future__ import annotations

from tasks.roles import STANDARD, STUDENT
from tasks.sections import Coco, Evaluate, EvaluateJob


def test_roles_were_not_always_said() -> None:
    usual = EvaluateJob.of(Evaluate(), Coco(path="/data"), STANDARD)
    assert usual.identity() == {**Evaluate().identity(), "coco": Coco().identity()}
    relabelled = STUDENT.model_copy(update={"label": "Pupil", "colour": "#000000"})
    assert EvaluateJob.of(Evaluate(), Coco(), (*STANDARD[:2], relabelled, *STANDARD[3:])).identity() == usual.identity()
    assert EvaluateJob.of(Evaluate(), Coco(), (STUDENT,)).identity()["roles"] == [STUDENT.identity()]
