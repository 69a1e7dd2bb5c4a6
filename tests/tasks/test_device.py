"""What computes is told by its name, and asking imports nothing."""

from __future__ import annotations

import subprocess
import sys
from types import ModuleType

import pytest
import torch

from tasks.device import cuda, device_used
from tests import ROOT


def test_asking_imports_nothing() -> None:
    code = "import sys; from tasks.device import device_used; print(device_used(), 'torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["CPU", "False"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_is_the_cpu() -> None:
    assert cuda() is None and device_used() == "CPU"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_is_named_when_it_was_used() -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    held = torch.zeros(8, device="cuda")
    assert device_used() == torch.cuda.get_device_name() and held.is_cuda


def test_a_torch_that_another_thread_is_importing_is_no_device_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("torch")
    monkeypatch.setitem(sys.modules, "torch", half)
    assert cuda() is None
    half.cuda = ModuleType("torch.cuda")  # type: ignore[attr-defined]
    assert cuda() is None
