"""The prompts of a part are those of the file, whatever slice is asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.store import open_store
from tasks.data import part_prompts as module
from tasks.data.part_prompts import PartPrompts
from tests.tasks.small_run import commit

PARTS = ["reflow"] * 23 + ["distill"] * 4 + ["reflow"] * 2
"""Nobody writes them mixed; whoever reads them does not rely on it."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    folder = tmp_path_factory.mktemp("prompts")
    rows = {"index": [*range(100, 129)], "part": PARTS, "prompt": [f"prompt {n} 🐈" for n in range(29)]}
    pq.write_table(pa.table(rows), folder / "prompts.parquet", row_group_size=7)
    return commit(open_store(folder / "store"), "prompts", {"prompts.parquet": folder / "prompts.parquet"}, rows=29)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(-30, 30) | st.none(), st.integers(-30, 30) | st.none())
def test_a_slice_is_that_of_a_list(made: Artifact, start: int | None, stop: int | None) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "ROWS", 5)
        for part in ("reflow", "distill"):
            whole = [(100 + n, f"prompt {n} 🐈") for n in range(29) if PARTS[n] == part]
            found = PartPrompts(made, part)
            assert found[start:stop] == whole[start:stop]
            assert [*found] == whole and len(found) == len(whole)


def test_a_plain_folder_is_no_prompts_artifact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a plain folder; expected the artifact of a stage"):
        PartPrompts(Folder.open(tmp_path), "reflow")
