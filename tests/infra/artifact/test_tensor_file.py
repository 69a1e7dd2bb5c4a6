"""A file that stock safetensors reads and writes, without a second copy of what is in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from infra.artifact.fingerprint import sha256_file
from infra.artifact.tensor_file import TensorFile, help_write, kinds, whole, write
from tests import ROOT

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.uint8, torch.bool)
_shapes = st.lists(st.integers(0, 5), max_size=4)
_states = st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(st.sampled_from(DTYPES), _shapes), max_size=6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(_states)
def test_stock_safetensors_reads_what_is_written_and_writes_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, state: dict[str, tuple[torch.dtype, list[int]]]
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    tensors = {name: (torch.rand(shape) * 9).to(dtype) for name, (dtype, shape) in state.items()}
    assert write(path, tensors) == sha256_file(path)
    assert _same(load_file(path), tensors) and _same({**TensorFile(path)}, tensors)
    assert TensorFile(path).kinds == kinds(tensors)
    save_file(tensors, path)
    assert _same({**TensorFile(path)}, tensors)


def test_every_tensor_is_aligned(tmp_path: Path) -> None:
    """Who maps the file reads numbers where they may lie."""
    tensors = {f"{name}{dtype}": torch.ones(3, dtype=dtype) for name in "ab" for dtype in reversed(DTYPES)}
    write(tmp_path / "state", tensors)
    data = (tmp_path / "state").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0 and data[8:9] == b"{"
    assert all(one["data_offsets"][0] % tensors[name].itemsize == 0 for name, one in header.items())
    assert _same(load_file(tmp_path / "state"), tensors)


def _same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return found.keys() == wanted.keys() and all(
        one.dtype == wanted[name].dtype and torch.equal(one, wanted[name]) for name, one in found.items()
    )


def test_tensors_that_share_memory_or_lie_otherwise(tmp_path: Path) -> None:
    weight = torch.randn(4, 3, 2, 2)
    tensors = {
        "weight": weight,
        "tied": weight,
        "part": weight[1:3],
        "turned": weight.transpose(0, 3),
        "channels_last": weight.to(memory_format=torch.channels_last),
        "learned": torch.nn.Parameter(weight),
    }
    write(tmp_path / "state", tensors)
    assert _same({**TensorFile(tmp_path / "state")}, tensors)
    assert kinds({"a": weight.bfloat16(), "b": torch.tensor(3)}) == {"a": "BF16 [4, 3, 2, 2]", "b": "I64 []"}


def test_an_open_file_may_be_removed_and_what_is_read_is_the_readers_own(tmp_path: Path) -> None:
    path = tmp_path / "state"
    write(path, {"a": torch.zeros(3)})
    file = TensorFile(path)
    path.unlink()
    file["a"].fill_(1)
    assert file["a"].tolist() == [0, 0, 0] and len(file) == 1
    with pytest.raises(KeyError):
        file["b"]


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no tensors at all")
    with pytest.raises(SafetensorError):
        TensorFile(tmp_path / "notes.txt")


class Spread:
    """Stands for a tensor of which this process has a part: whoever asks for all of it is written down."""

    itemsize, asked = 4, list[str]()

    def __init__(self, name: str) -> None:
        self.name = name

    def full_tensor(self) -> Tensor:
        self.asked.append(self.name)
        return torch.ones(2)


def test_all_ranks_ask_for_spread_tensors_in_the_order_of_the_file(tmp_path: Path) -> None:
    tensors = {"b": Spread("b"), "wide": torch.ones(1).double(), "a": Spread("a")}
    help_write(tensors)  # type: ignore[arg-type]
    write(tmp_path / "whole", {"b": torch.ones(2), "wide": torch.ones(1).double(), "a": torch.ones(2)})
    header = json.loads((tmp_path / "whole").read_bytes()[8:].partition(b"}}")[0] + b"}}")
    assert Spread.asked == [name for name in header if name != "wide"] == ["a", "b"]
    assert whole(tensors["wide"]) is tensors["wide"]  # type: ignore[arg-type]


_MEASURES = """
import sys, torch
from pathlib import Path
from infra.artifact import Draft
from infra.artifact.checkpoint import Checkpoint, latest, save
from infra.store import open_store

def peak_mb():
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024

draft = Draft(open_store("store"), "reflow", "0" * 64)
save(draft, Checkpoint(1, {"warm": torch.zeros(8).bfloat16()}))
assert latest(draft, {}).tensors["warm"].sum() == 0
state = {f"{n:02}": torch.full((2_500_000 + n,), float(n)) for n in range(32)}  # 320 MB
print(before := peak_mb())
save(draft, Checkpoint(2, state))
print(peak_mb() - before)
found = latest(draft, {})
for name, tensor in state.items():
    tensor.zero_()
    tensor.copy_(found.tensors[name])
assert all(tensor.eq(float(name)).all() for name, tensor in state.items())
print(peak_mb() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_checkpoint_is_saved_and_loaded_without_a_second_copy_of_it(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", _MEASURES],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    _, saving, loading = map(int, process.stdout.split())
    assert saving < 60 and loading < 60, "the state is 320 MB, one of its tensors 10 MB"
