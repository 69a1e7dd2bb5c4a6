"""Judges are opened as the protocol names them, each network once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.artifact import Folder
from infra.errors import UserError
from models.judges.dinov2 import DinoV2
from tasks.evaluate.judges import load_judges
from tasks.sections import Clip, RealJob
from tests.models.judges import networks


def test_the_small_judge_alone(clip: Folder) -> None:
    judges = load_judges(RealJob(), {"judge": clip}, miniature=False)
    assert judges.features == {"features": judges.clip.image_features} and judges.reader is None
    assert load_judges(RealJob(), {"judge": clip}, miniature=True).reader is not None


def test_further_networks_are_opened_where_they_are_asked_for(clip: Folder, tmp_path: Path) -> None:
    networks.dinov2(tmp_path / "dinov2")
    networks.clip(tmp_path / "clip.pt")
    other = Clip(architecture="ViT-S-32-alt", weights=str(tmp_path / "clip.pt"))
    job = RealJob(
        clip=other, cmmd_clip=other, extras=("cmmd", "dinov2"), dinov2_weights=str(tmp_path / "dinov2")
    )  # fmt: skip
    judges = load_judges(job, {"judge": clip}, miniature=False)
    assert [*judges.features] == ["features", "dinov2", "cmmd"] and isinstance(judges.features["dinov2"], DinoV2)
    assert judges.features["cmmd"] == judges.clip.image_features, "one network is loaded once"
    assert judges.features["features"] != judges.clip.image_features
    shown = judges.look(networks.pictures(2, 40), *judges.features, "image")
    assert shown["dinov2"].shape == (2, 32) and shown["cmmd"] is shown["image"]
    assert all(one.dtype == torch.float32 for one in shown.values())


def test_what_is_missing_is_told(clip: Folder, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no input judge, the small CLIP"):
        load_judges(RealJob(), {}, miniature=False)
    absent = RealJob(extras=("dinov2",), dinov2_weights=str(tmp_path))
    with pytest.raises(UserError, match=r"^evaluate: dinov2 weights: no file .*config\.json"):
        load_judges(absent, {"judge": clip}, miniature=False)


def test_weights_may_lie_at_home(clip: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    networks.clip(tmp_path / "clip.pt")
    job = RealJob(clip=Clip(architecture="ViT-S-32-alt", weights="~/clip.pt"))
    assert load_judges(job, {"judge": clip}, miniature=False).clip.size == (224, 224)
