"""Names and shapes are read from the header of every kind of weights file, and nothing that it names is run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from models.weights_header import read_shapes
from tests import ROOT

WEIGHTS = {"a.weight": torch.zeros(3, 2), "a.bias": torch.zeros(3).bfloat16(), "scale": torch.tensor(1.0)}
SHAPES = {"a.weight": (3, 2), "a.bias": (3,), "scale": ()}

WRITERS: dict[str, Callable[[Any, Path], object]] = {
    "safetensors": save_file,
    "torch": torch.save,
    "old torch": lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_names_and_shapes_are_those_that_were_saved(write: Callable[[Any, Path], object], tmp_path: Path) -> None:
    write(WEIGHTS, tmp_path / "weights")
    assert read_shapes(tmp_path / "weights") == SHAPES


@pytest.mark.parametrize("kind", ["torch", "old torch"])
def test_what_was_saved_beside_the_weights_is_passed_over(kind: str, tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(module.parameters())
    saved = {"epoch": 3, "path": tmp_path, "optimizer": optimizer, "state_dict": {**dict(module.named_parameters())}}
    WRITERS[kind](saved, tmp_path / "weights")
    assert read_shapes(tmp_path / "weights") == {"weight": (3, 2), "bias": (3,)}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_an_archive_of_code_does_not_tell(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "code.pt")
    assert read_shapes(tmp_path / "code.pt") is None


class Evil:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch ran",)


@pytest.mark.parametrize("kind", ["torch", "old torch"])
def test_a_pickle_is_never_run(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    WRITERS[kind]({**WEIGHTS, "evil": Evil()}, tmp_path / "weights")
    assert read_shapes(tmp_path / "weights") == SHAPES
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ValueError, match="no whole file of weights: neither safetensors nor"):
        (tmp_path / "plain").write_bytes(pickle.dumps(Evil()))
        read_shapes(tmp_path / "plain")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_named(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights"
    WRITERS[kind](WEIGHTS, path)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match=r"weights: no whole file of weights: "):
        read_shapes(path)


def test_a_file_of_another_kind_and_one_without_weights(tmp_path: Path) -> None:
    (tmp_path / "words").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="words: no whole file of weights: neither safetensors nor what torch"):
        read_shapes(tmp_path / "words")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match=r"list\.pth: holds no tensors by name"):
        read_shapes(tmp_path / "list.pth")
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no file {path}"):
            read_shapes(path)


def test_it_is_light(tmp_path: Path) -> None:
    torch.save(WEIGHTS, tmp_path / "weights")
    code = (
        "import sys; from pathlib import Path; from models.weights_header import read_shapes;"
        f" read_shapes(Path({str(tmp_path / 'weights')!r})); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
