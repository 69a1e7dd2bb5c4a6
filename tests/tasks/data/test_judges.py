"""The judges that a recipe names are looked for before anything runs, and told by the recipe's field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from infra.errors import UserError
from tasks.data.judges import check_judges, check_perceptual
from tasks.sections import Clip, Evaluate, Perceptual
from tests import ROOT
from tests.models.judges.networks import inception


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("judges") / "inception.pth"
    inception(path)
    return path


def with_clip(weights: Path, architecture: str = "ViT-g-14", tag: str | None = None) -> Evaluate:
    return Evaluate(clip=Clip(architecture=architecture, weights=str(weights), tag=tag))


def test_what_is_there_is_well(weights: Path) -> None:
    check_judges(Evaluate())
    check_judges(with_clip(weights, tag="laion2b_s34b_b88k"))
    check_judges(Evaluate(features="inception", inception_weights=str(weights)))
    check_perceptual(Perceptual())
    check_perceptual(Perceptual(kind="lpips"))


def test_every_mistake_is_told_by_its_field(weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.pth"
    torch.save({"features.0.weight": torch.zeros(1)}, other)
    mistakes = {
        r"evaluate\.clip\.architecture: .*'ViT-g14'.*nearest: ViT-g-14": with_clip(weights, "ViT-g14"),
        r"evaluate\.clip\.tag: .*'openai': ViT-g-14 has no such": with_clip(weights, tag="openai"),
        r"evaluate\.clip\.weights: no weights file .*absent": with_clip(tmp_path / "absent"),
        r"evaluate\.inception_weights: .*other\.pth: no weights of inception": Evaluate(
            features="inception", inception_weights=str(other)
        ),
    }
    for said, config in mistakes.items():
        with pytest.raises(UserError, match=said):
            check_judges(config)
    for network in ("vgg", "alex"):
        with pytest.raises(UserError, match=rf"direct\.perceptual\.trunk_weights: .*no weights of {network}"):
            check_perceptual(
                Perceptual(kind="lpips", network=network, trunk_weights=str(other)),  # type: ignore[arg-type]
                "direct.perceptual",
            )


def test_looking_takes_no_torch() -> None:
    code = "import sys, tasks.data.judges; assert not {'torch', 'open_clip', 'numpy', 'PIL'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
