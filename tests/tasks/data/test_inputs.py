"""A stage that reads an index wants an artifact, not a folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from tasks.data.inputs import as_artifact


def test_an_artifact_is_taken_as_it_is(prompts: Artifact) -> None:
    assert as_artifact(prompts) is prompts


def test_a_plain_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        as_artifact(Folder.open(tmp_path))
    assert str(raised.value) == f"{tmp_path}: a plain folder; expected the artifact of a stage (stage/fingerprint)"
