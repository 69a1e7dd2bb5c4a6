"""What a worker makes sure of before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.run.sent import Sent, require_same_inputs
from infra.artifact import Folder
from infra.errors import UserError


def test_a_folder_with_another_content_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "unet.bin").write_text("mine")
    teacher = Folder.open(tmp_path, "model")
    require_same_inputs("pairs-1", {"teacher": teacher}, None)
    require_same_inputs("pairs-1", {"teacher": teacher}, Sent(recipe="x", run="r", digests={"teacher": teacher.digest}))
    told = (
        rf"^stage pairs-1: inputs: teacher: {tmp_path} has the digest {teacher.digest[:12]} here, .* and 000000000000 "
    )
    with pytest.raises(UserError, match=told):
        require_same_inputs("pairs-1", {"teacher": teacher}, Sent(recipe="x", run="r", digests={"teacher": "0" * 64}))
