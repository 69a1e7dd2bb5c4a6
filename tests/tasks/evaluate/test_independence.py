"""A model is not measured by the network that it was trained with."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder, Source
from infra.errors import UserError
from infra.store import Store
from tasks.evaluate.independence import judges, require_independent, trained_with
from tasks.sections import EvaluateJob
from tests.tasks.small_run import commit

JOB = EvaluateJob(num_images=4)


@pytest.fixture
def networks(tmp_path: Path) -> dict[str, Folder]:
    """A teacher, pairs, the network of a loss, the one that measures."""
    found = {}
    for name in ("teacher", "pairs", "clip", "judge"):
        (tmp_path / name).write_text(name)
        found[name] = Folder.open(tmp_path / name)
    return found


@pytest.fixture
def student(networks: dict[str, Folder], store: Store, tmp_path: Path) -> Artifact:
    made_from: dict[str, Source] = {name: networks[name] for name in ("teacher", "pairs", "clip")}
    return commit(store, "distill", {"model": networks["teacher"].path}, inputs=made_from)


def test_it_is_known_what_a_model_was_trained_with(student: Artifact, networks: dict[str, Folder]) -> None:
    inputs: dict[str, Source] = {"teacher": networks["teacher"], "student": student, "judge": networks["judge"]}
    assert trained_with(inputs) == {"student": {"clip": networks["clip"].digest}}
    assert judges(inputs, JOB) == {"judge": networks["judge"].digest}
    require_independent(inputs, JOB)


def test_the_network_of_a_loss_does_not_measure(student: Artifact, networks: dict[str, Folder]) -> None:
    inputs: dict[str, Source] = {"student": student, "judge": networks["clip"]}
    with pytest.raises(UserError, match=r"evaluate: judge is the network that student was trained with \(clip, digest"):
        require_independent(inputs, JOB)


def test_a_file_of_weights_is_known_by_its_content(
    student: Artifact, networks: dict[str, Folder], tmp_path: Path
) -> None:
    (tmp_path / "copy.pth").write_text("clip")
    job = EvaluateJob(num_images=4, features="inception", inception_weights=str(tmp_path / "copy.pth"))
    with pytest.raises(UserError, match="evaluate: inception_weights is the network that student was trained with"):
        require_independent({"student": student, "judge": networks["judge"]}, job)
