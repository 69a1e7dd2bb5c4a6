"""The recorded values, and whether this machine can make the bits that they were made of."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.golden.arithmetic import arithmetic

HERE = Path(__file__).parent


def golden(name: str) -> Any:
    """The recorded values of that name."""
    return json.loads((HERE / f"{name}.json").read_text(encoding="utf-8"))


def require_same_bits() -> None:
    """Skip where the arithmetic is another than that of the machine which made the golden digests."""
    recorded = golden("arithmetic")
    if torch.cuda.is_available() or _arithmetic() != recorded["hash"]:
        pytest.skip(f"digests of floats were made with {recorded['made_with']}; this machine rounds otherwise")


_arithmetic = cache(arithmetic)
