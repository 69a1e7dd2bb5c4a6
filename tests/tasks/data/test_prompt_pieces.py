"""Every format by its name in a recipe, and what headers tell without a network at hand."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Files
from infra.errors import UserError
from tasks.data.prompt_pieces import pieces
from tasks.sections import PromptFilters, Prompts
from tests import ROOT


def written(folder: Path) -> dict[str, Path]:
    found = {source: folder / source for source in ("text", "jsonl", "coco", "parquet")}
    found["text"].write_text("a cat")
    found["jsonl"].write_text('{"TEXT": "a cat"}')
    found["coco"].write_text(json.dumps({"annotations": [{"id": 1, "caption": "a cat"}]}))
    pq.write_table(pa.table({"TEXT": ["a cat"]}), found["parquet"])
    return found


def config(source: Any, path: Path, **fields: Any) -> Prompts:
    return Prompts(source=source, path=str(path), **fields)


def test_every_format_is_read_by_its_name(tmp_path: Path) -> None:
    for source, path in written(tmp_path).items():
        (piece,) = pieces(config(source, path), Files.open(str(path)))
        assert [table.column(0).to_pylist() for table, _ in piece.read()] == [["a cat"]]
    with pytest.raises(ValueError, match="no files"):
        pieces(Prompts(), Files.open(str(tmp_path)))


def test_a_column_that_a_filter_lacks_is_told_before_anything_is_read(tmp_path: Path) -> None:
    for source in ("jsonl", "parquet"):
        path = written(tmp_path)[source]
        told = config(source, path, filters=PromptFilters(max_punsafe=0.5))
        with pytest.raises(UserError, match=r"^prompts\.columns\.punsafe: .* 'punsafe'; its .* are TEXT$"):
            pieces(told, Files.open(str(path)))


def test_no_network_is_imported_for_it() -> None:
    code = "import sys, tasks.data.prompt_pieces; assert not {'torch', 'prefect', 'diffusers'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
