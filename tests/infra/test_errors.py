"""What the user can mend is told apart from everything else by its class."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from pydantic import Field, model_validator

from infra.artifact import ArtifactMissing, Folder, UnitsMissing
from infra.errors import UserError
from infra.recipe import Section, validated
from infra.stopping import Stopped
from infra.store import StoreError


def test_every_error_of_store_and_artifact_is_the_users_to_mend() -> None:
    for kind in (StoreError, ArtifactMissing, UnitsMissing):
        assert issubclass(kind, UserError)
    assert issubclass(ArtifactMissing, FileNotFoundError) and not issubclass(StoreError, FileNotFoundError)
    assert not issubclass(Stopped, Exception), "being asked to stop is no error"


class Guarded(Section):
    """A section that looks for a file."""

    path: str = Field(description="the file")

    @model_validator(mode="after")
    def _is_there(self) -> Guarded:
        Folder.open(self.path)
        return self


def test_a_section_may_raise_it_and_the_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^here: recipe: {tmp_path}/absent: no such file or folder\."):
        validated(Guarded, {"path": str(tmp_path / "absent")}, lambda _: "here")


@pytest.mark.parametrize("kind", [UserError, StoreError, UnitsMissing])
def test_it_passes_between_processes_with_its_text(kind: type[UserError]) -> None:
    again = pickle.loads(pickle.dumps(kind("store x: cannot read a")))
    assert type(again) is kind and str(again) == "store x: cannot read a"
