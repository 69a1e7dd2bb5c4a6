"""All that is amiss is told at once, by real commands over real files, before anything is written or imported."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from flows.recipes import chain_of, load_recipe
from flows.run import preflight as module
from flows.run.preflight import pictures_looked_at, preflight
from flows.run.runner import recorded
from infra.errors import UserError
from tests import ROOT
from tests.flows.kitchen import CHAIN, Kitchen
from tests.models import untrained

LIGHT = """
import json, sys
from flows.cli.app import main
try:
    main()
except SystemExit as end:
    print(json.dumps([end.code or 0, sorted({"torch", "diffusers", "prefect", "open_clip"} & sys.modules.keys())]))
"""

COUNT = 16


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher, pictures with captions, and a file of weights that nobody asked for."""
    folder = tmp_path_factory.mktemp("things")
    untrained.teacher_folder(folder / "teacher")
    pictures(folder / "coco", COUNT)
    torch.save({"a": torch.zeros(2)}, folder / "other.pth")
    return folder


def pictures(folder: Path, count: int) -> Path:
    (folder / "annotations").mkdir(parents=True)
    (folder / "val2017").mkdir()
    for number in range(count):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(folder / "val2017" / f"{number}.png")
    content = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(count)],
        "annotations": [{"id": number, "image_id": number, "caption": "a cat"} for number in range(count)],
    }
    (folder / "annotations" / "captions_val2017.json").write_text(json.dumps(content))
    return folder


def ours(things: Path) -> list[str]:
    """What makes a recipe of these things."""
    return ["world=null", f"coco.path={things}/coco", f"teacher.path={things}/teacher", "evaluate.num_images=8"]


def command(folder: Path, *arguments: str) -> tuple[str, list[object]]:
    """What a command says, its exit code and what it imported."""
    run = subprocess.run(
        [sys.executable, "-c", LIGHT, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return run.stderr, json.loads(run.stdout.splitlines()[-1])


def sets(overrides: list[str]) -> list[str]:
    return [part for override in overrides for part in ("--set", override)]


@pytest.mark.parametrize("name", ["run", "plan"])
def test_all_that_is_amiss_is_told_at_once(
    name: str, things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    given = pictures(tmp_path / "coco", 6)
    (given / "val2017" / "2.png").unlink()
    (given / "val2017" / "4.png").write_bytes((given / "val2017" / "4.png").read_bytes()[:-9])
    told, end = command(
        tmp_path, name, "tiny",
        *sets(
            [
                "world=null", "coco.path=coco", "teacher.path=coco", "prompts={source: text, path: gone.txt}",
                "student_pairs.solver=ddim", "distill.perceptual={kind: lpips}",
                f"direct.perceptual={{kind: lpips, trunk_weights: {things}/other.pth}}",
                "evaluate.num_images=6", "evaluate.features=inception",
                f"evaluate.inception_weights={things}/other.pth",
                f"evaluate.clip={{architecture: ViT-g14, weights: {things}/other.pth}}",
            ]
        ),
    )  # fmt: skip
    assert end == [2, []], told
    first, *lines = told.splitlines()
    assert first == "instaflow: 10 things are in the way of tiny:"
    beginnings = (
        "teacher.path: ", "prompts.path: gone.txt: no such file", "student_pairs.solver: ",
        "distill.perceptual.trunk_weights: null, and torchvision's cache has no", "direct.perceptual.trunk_weights: ",
        "evaluate.inception_weights: ", "evaluate.clip.architecture: clip architecture 'ViT-g14'",
        "evaluate.num_images: 6 pictures need 12 captions",
    )  # fmt: skip
    for beginning in beginnings:
        assert [line for line in lines if line.startswith(f"  {beginning}")], f"{beginning} in {told}"
    assert "2.png: no such picture" in told and "4.png: broken picture" in told
    assert not (tmp_path / "store").exists(), "nothing is written"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["teacher.path={things}/other.pth"], "teacher.path: {things}/other.pth: is a file; expected a folder."),
        (["teacher.path={things}/coco"], "no model_index.json"),
        (["teacher.path=/nowhere"], "teacher.path: /nowhere: no such file or folder. Check the path"),
        (["student_pairs.solver=ddim"], "student_pairs.solver: "),
        (["evaluate.num_images=9"], "evaluate.num_images: 9 pictures need 18 captions"),
        (["coco.annotations=annotations/other.json"], "no such file; expected COCO captions"),
        (["coco.images=train2017"], "train2017: no such folder"),
    ],
)
def test_one_thing_is_one_line(overrides: list[str], message: str, things: Path) -> None:
    changed = {override.partition("=")[0]: override.format(things=things) for override in [*ours(things), *overrides]}
    with pytest.raises(UserError) as caught:
        preflight(chain_of(load_recipe("tiny", [*changed.values()])))
    text = str(caught.value)
    assert message.format(things=things) in text and "\n" not in text


@pytest.mark.parametrize("recipe", ["mini", "tiny", "weights"])
def test_the_bundled_recipes_pass(recipe: str) -> None:
    preflight(chain_of(load_recipe(recipe)))


def test_things_that_fit_pass(things: Path) -> None:
    chain = chain_of(load_recipe("tiny", ours(things)))
    preflight(chain)
    with pictures_looked_at(chain) as alarm:
        alarm()


def test_many_pictures_are_looked_at_while_the_first_stages_work(
    things: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 3)
    coco = pictures(tmp_path / "coco", COUNT)
    (coco / "val2017" / "6.png").write_bytes(b"GIF")
    changed = [one.replace(f"{things}/coco", str(coco)) for one in ours(things)]
    chain = chain_of(load_recipe("tiny", changed))
    preflight(chain)
    with pictures_looked_at(chain) as alarm, pytest.raises(UserError, match=r"6\.png: broken picture"):
        for _ in range(100):
            alarm()
            time.sleep(0.05)


def test_what_is_found_ends_the_run(kitchen: Kitchen) -> None:
    def alarm() -> None:
        if "prompts" in kitchen.done:
            raise UserError("6.png: broken picture")

    with pytest.raises(UserError, match=r"6\.png"), recorded(CHAIN, kitchen.store, alarm=alarm) as do:
        CHAIN.replay(do)
    assert kitchen.done == ["world", "prompts"]
