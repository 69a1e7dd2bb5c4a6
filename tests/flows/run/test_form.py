"""A secret in what a form asks for is refused by the server, before it is written down."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import ValidationError, validate

from flows.pipeline import PIPELINES
from flows.run.stage_flow import STAGE_FLOWS

STAGE = {
    "config": {},
    "store": "s3://bucket/store",
    "inputs": {"teacher": "mini", "prompts": "prompts/0123456789abcdef"},
}


def _schema(flow: Any) -> dict[str, Any]:
    found: dict[str, Any] = flow.parameters.model_dump_for_openapi()
    return found


@pytest.mark.parametrize("secret", ["s3://key:hunter2@bucket/store", "https://host/x.txt?sig=hunter2"])
def test_no_form_takes_a_secret(secret: str) -> None:
    pipeline, stage = _schema(PIPELINES["instaflow"]), _schema(STAGE_FLOWS["pairs"])
    for parameters in ({"store": secret}, {"store": "s", "overrides": [f"prompts.path={secret}"]}):
        with pytest.raises(ValidationError):
            validate(parameters, pipeline)
    for field in ({"store": secret}, {"inputs": {"teacher": secret}}):
        with pytest.raises(ValidationError):
            validate(STAGE | field, stage)


@pytest.mark.parametrize("store", ["s3://bucket/path", "/data/a@b", "hdfs://host:80/x"])
def test_what_is_none_is_taken(store: str) -> None:
    validate({"store": store, "overrides": ["teacher.path=weights/x@1"]}, _schema(PIPELINES["instaflow"]))
    validate(STAGE | {"store": store}, _schema(STAGE_FLOWS["pairs"]))
