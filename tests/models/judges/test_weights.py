"""What a weights file holds is read from its header, and another network's is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from models.judges.weights import check_weights, tensor_names
from tests.models.judges.networks import inception

STATE = {"layer.weight": torch.zeros(3, 3), "layer.bias": torch.ones(3)}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three networks' weights, without their bulk: the header is what is read."""
    folder = tmp_path_factory.mktemp("weights")
    inception(folder / "inception.pth")
    with torch.device("meta"):
        trunks = {"vgg": torchvision.models.vgg16(weights=None), "alex": torchvision.models.alexnet(weights=None)}
    for name, trunk in trunks.items():
        torch.save({key: torch.zeros(1) for key in trunk.state_dict()}, folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in ("inception", *trunks)}


@pytest.mark.parametrize("is_zip", [True, False])
def test_the_names_in_a_checkpoint(is_zip: bool, tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "a.pth", _use_new_zipfile_serialization=is_zip)
    assert {*STATE} <= tensor_names(tmp_path / "a.pth")


def test_the_names_in_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors", {"format": "pt"})
    assert tensor_names(tmp_path / "a.safetensors") == {*STATE}


def test_each_network_is_itself_and_no_other(files: dict[str, Path]) -> None:
    for name in files:
        for other, path in files.items():
            if name == other:
                check_weights(path, name)
            else:
                with pytest.raises(ValueError, match=rf"{other}\.pth: no weights of {name}: "):
                    check_weights(path, name)


def test_what_is_no_weights_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights file .*absent\.pth"):
        tensor_names(tmp_path / "absent.pth")
    torch.save(STATE, tmp_path / "whole.pth")
    contents = {
        "page.pth": b"<html>404</html>",
        "empty.pth": b"",
        "cut.pth": (tmp_path / "whole.pth").read_bytes()[:200],
        "page.safetensors": b"<html>404</html>",
        "cut.safetensors": b"\x10\0\0\0\0\0\0\0{",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: no weights file: .*expected safetensors or a torch checkpoint"):
            tensor_names(tmp_path / name)


def test_nothing_in_it_is_run(tmp_path: Path) -> None:
    torch.save({"path": Path("x")}, tmp_path / "a.pth")  # a pickle that would import pathlib
    assert "path" in tensor_names(tmp_path / "a.pth")
