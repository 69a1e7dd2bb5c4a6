"""Weights are counted and found whole by their headers alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from models.pipelines.weight_files import count_numbers, variants


@pytest.fixture
def part(tmp_path: Path) -> Path:
    tensors = {"a": torch.zeros(3, 4), "b": torch.zeros(5, dtype=torch.bfloat16), "ids": torch.arange(7)}
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path


def test_numbers_are_floats_of_the_plain_files_or_of_the_variant(part: Path) -> None:
    assert count_numbers(part, None) == count_numbers(part, "fp16") == 17
    for shard in (1, 2):
        save_file({"a": torch.zeros(6).half()}, part / f"model.fp16-0000{shard}-of-00002.safetensors")
    assert variants(part) == {"", "fp16"}
    assert (count_numbers(part, None), count_numbers(part, "fp16")) == (17, 12)


def test_a_file_that_is_not_whole_is_told_at_every_cut(part: Path) -> None:
    path = part / "model.safetensors"
    whole = path.read_bytes()
    for content in [*(whole[:cut] for cut in range(0, len(whole), 7)), whole + b"x", b"<html>" * 99, b"\xff" * 99]:
        path.write_bytes(content)
        with pytest.raises(
            ValueError, match=rf"^{path}: (no safetensors file|has \d+ bytes; expected \d+).*download it again"
        ):
            count_numbers(part, None)


def test_no_weights_and_pickles(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights; expected a .safetensors file"):
        variants(tmp_path)
    (tmp_path / "model.ckpt").touch()
    with pytest.raises(ValueError, match=r"a pickle \(model\.ckpt\), which may run any code"):
        variants(tmp_path)
