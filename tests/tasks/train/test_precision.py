"""A training computes in the format that its recipe says."""

from __future__ import annotations

import pytest
import torch

from infra.artifact import Folder
from tasks.data.load import load_model
from tasks.sections import Precision
from tasks.train.precision import autocast


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_only_bf16_is_another_format_than_the_weights(precision: Precision, dtype: torch.dtype, flow: Folder) -> None:
    weight = torch.ones(2, 2)
    with autocast(load_model(flow), precision):
        assert (weight @ weight).dtype == dtype
