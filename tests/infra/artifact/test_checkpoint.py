"""Checkpoints: the newest whole one that fits, or a loud refusal."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from infra.artifact import Draft
from infra.artifact.checkpoint import Checkpoint, latest, save
from infra.errors import UserError
from infra.store import StoreError, open_store
from tests.infra.stores import DownStore, FailingStore, Killed

LAYOUT = {"recipe": "abc", "data": "def", "world_size": 1}


def state(step: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(step)
    weight = torch.randn(3, 5, generator=generator)
    return {
        "weight": weight,
        "ema": weight,  # one storage: as fresh EMA weights are
        "transposed": weight.T,
        "step": torch.tensor(step),
        "rng": generator.get_state(),
        "half": weight.to(torch.bfloat16),
        "empty": torch.empty(0),
    }


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, state(step), LAYOUT)


def same(found: Checkpoint | None, step: int) -> bool:
    assert found is not None
    wanted = state(step)
    assert found.step == step and found.tensors.keys() == wanted.keys()
    return all(torch.equal(found.tensors[name], wanted[name]) for name in wanted)


@pytest.fixture(params=["local", "memory"])
def draft(request: pytest.FixtureRequest, tmp_path: Path) -> Draft:
    url = str(tmp_path / "store") if request.param == "local" else f"memory://checkpoints{tmp_path}"
    return Draft(open_store(url), "reflow", "0" * 64)


def files(draft: Draft, suffix: str) -> list[str]:
    return [path for path in draft.store.list(f"{draft.base}/checkpoints") if path.endswith(suffix)]


@pytest.mark.parametrize(
    "path", ["../../outside", "/etc/passwd", "checkpoints/train/../../x", "data/model.safetensors"]
)
def test_a_record_that_leads_elsewhere_is_passed_over(
    draft: Draft, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(draft, checkpoint(3))
    save(draft, checkpoint(6))
    record = files(draft, ".json")[-1]
    found = json.loads(draft.store.read(record))
    draft.store.write(record, json.dumps({**found, "file": path}).encode())
    assert same(latest(draft, LAYOUT), 3) and "is damaged, trying the one before" in caplog.text


def test_none_at_first(draft: Draft) -> None:
    assert latest(draft, LAYOUT) is None


def test_what_is_saved_is_loaded_bit_for_bit(draft: Draft) -> None:
    save(draft, checkpoint(500))
    assert same(latest(draft, LAYOUT), 500)
    save(draft, checkpoint(1000))
    assert same(latest(draft, dict(reversed(LAYOUT.items()))), 1000)


def test_the_last_two_are_kept(draft: Draft) -> None:
    for step in (500, 1000, 1500, 2000):
        save(draft, checkpoint(step))
    names = [path.rpartition("/")[2][:13] for path in files(draft, ".safetensors")]
    assert names == ["step-00001500", "step-00002000"] and len(files(draft, ".json")) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "gone", "record"])
def test_a_damaged_one_falls_back(draft: Draft, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    for step in (500, 1000):
        save(draft, checkpoint(step))
    path = files(draft, ".json" if damage == "record" else ".safetensors")[-1]
    data = bytearray(draft.store.read(path))
    data[len(data) // 2] ^= 1
    broken = {"cut": data[:-512], "flip": data, "empty": b"", "record": b"{", "gone": b""}[damage]
    draft.store.delete(path) if damage == "gone" else draft.store.write(path, bytes(broken))
    assert same(latest(draft, LAYOUT), 500)
    assert "step-00001000" in caplog.text and "damaged" in caplog.text


def test_all_damaged_is_the_beginning(draft: Draft, caplog: pytest.LogCaptureFixture) -> None:
    save(draft, checkpoint(500))
    draft.store.write(files(draft, ".safetensors")[0], b"")
    assert latest(draft, LAYOUT) is None and "damaged" in caplog.text


@pytest.mark.parametrize(
    ("name", "value"),
    [("world_size", 2), ("data", "xyz"), ("recipe", "other"), ("new", 1), ("world_size", None)],
)
def test_another_layout_is_refused_with_both_values(draft: Draft, name: str, value: object) -> None:
    save(draft, checkpoint(500))
    with pytest.raises(UserError) as caught:
        latest(draft, {**LAYOUT, name: value})  # type: ignore[dict-item]
    text = str(caught.value)
    assert "step-00000500.json" in text and f"{name}: the checkpoint has {LAYOUT.get(name)!r}" in text
    assert f"this run {value!r}" in text


def test_killed_at_every_change_the_one_before_is_whole(tmp_path: Path) -> None:
    for fatal in range(1, 9):  # six writes, then the oldest record and its file are deleted
        for after in (False, True):
            root = tmp_path / f"{fatal}-{after}"
            dying = Draft(FailingStore(root, fatal, after=after), "reflow", "0" * 64)
            with pytest.raises(Killed):
                for step in (500, 1000, 1500):
                    save(dying, checkpoint(step))
            found = latest(Draft(open_store(root), "reflow", "0" * 64), LAYOUT)
            done = 500 * min((fatal - (0 if after else 1)) // 2, 3)
            assert (found is None) if done == 0 else same(found, done)


def test_an_orphan_is_swept(draft: Draft) -> None:
    save(draft, checkpoint(500))
    draft.store.write(f"{draft.base}/checkpoints/train/step-00000100-0123456789ab.safetensors", b"orphan")
    save(draft, checkpoint(1000))
    assert len(files(draft, ".safetensors")) == 2


def test_each_phase_keeps_its_own(draft: Draft) -> None:
    for phase in ("l2", "perceptual"):
        for step in (500, 1000, 1500):
            save(draft, Checkpoint(step, state(step), {**LAYOUT, "phase": phase}, phase))
    for phase in ("l2", "perceptual"):
        assert same(latest(draft, {**LAYOUT, "phase": phase}, phase), 1500)
    assert len(files(draft, ".safetensors")) == 4 and latest(draft, LAYOUT) is None


def test_an_outage_is_no_beginning(tmp_path: Path) -> None:
    save(Draft(open_store(tmp_path), "reflow", "0" * 64), checkpoint(500))
    with pytest.raises(StoreError):
        latest(Draft(DownStore(tmp_path), "reflow", "0" * 64), LAYOUT)
