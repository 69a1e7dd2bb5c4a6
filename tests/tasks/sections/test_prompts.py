"""Which prompts there are: a job also names the captions, and a setting without an effect is refused."""

from __future__ import annotations

import re

import pytest
from pydantic import ValidationError

from tasks.sections import Coco, Prompts, PromptsJob


def test_a_job_is_its_section_and_what_else_shapes_the_output() -> None:
    prompts, coco = Prompts(source="coco", seed=5), Coco(path="/data", images="mine")
    assert PromptsJob.of(prompts, coco).identity() == {**prompts.identity(), "coco": coco.identity()}
    assert PromptsJob.of(prompts, coco).coco.path is None, "inputs are passed by digest"


def test_a_setting_without_effect_is_refused() -> None:
    for fields, said in [
        ({"path": "x"}, '`path` has no effect with source "mini"'),
        ({"near_duplicates": None}, '`near_duplicates` has no effect with source "mini"'),
        ({"source": "text", "path": "x", "column": "caption"}, '`column` has no effect with source "text"'),
        ({"source": "coco", "filters": {"min_width": 5}}, '`filters` has no effect with source "coco"'),
        ({"source": "parquet", "path": "x", "columns": {"width": "w"}}, "`columns.width` has no effect: no filter"),
        ({"min_characters": 9, "max_characters": 8}, "`min_characters` 9 exceeds `max_characters` 8"),
        ({"source": "jsonl"}, 'source "jsonl" needs `path`'),
    ]:
        with pytest.raises(ValidationError, match=re.escape(said)):
            Prompts.model_validate(fields)
