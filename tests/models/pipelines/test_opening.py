"""A folder is opened as the family that it says it is of."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from models.pipelines.opening import FAMILIES, open_pipeline
from models.pipelines.stable_diffusion import StableDiffusion
from tests.models.pipelines.folders import copy, edit


@pytest.mark.parametrize(
    ("dtype", "expected"), [("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp16", torch.float16)]
)
def test_a_folder_is_opened_in_the_format_that_is_asked_for(
    teacher_folder: Path, dtype: str, expected: torch.dtype
) -> None:
    model = open_pipeline(teacher_folder, dtype)
    assert type(model) is StableDiffusion and model.dtype == model.pipeline.vae.dtype == expected


def test_every_family_is_known_by_its_class(teacher_folder: Path) -> None:
    for name, family in FAMILIES.items():
        assert family.pipeline_type.__name__ == name
    assert FAMILIES["StableDiffusionPipeline"] is StableDiffusion


@pytest.mark.parametrize("name", ["FluxPipeline", "StableDiffusionXLImg2ImgPipeline", "", None])
def test_an_unknown_class_is_named_with_those_that_are_known(
    name: str | None, teacher_folder: Path, tmp_path: Path
) -> None:
    folder = copy(teacher_folder, tmp_path)
    edit(folder / "model_index.json", lambda index: index.update(_class_name=name))
    with pytest.raises(ValueError) as caught:
        open_pipeline(folder)
    assert str(caught.value) == (
        f"{folder}/model_index.json: _class_name is {name!r}; expected one of {', '.join(FAMILIES)}"
    )


def test_an_index_without_a_class(teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    edit(folder / "model_index.json", lambda index: index.pop("_class_name"))
    with pytest.raises(
        ValueError, match=r"model_index\.json: _class_name is None; expected one of StableDiffusionPipeline"
    ):
        open_pipeline(folder)


def test_a_folder_without_an_index(teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    (folder / "model_index.json").unlink()
    for missing in (folder, tmp_path / "absent"):
        with pytest.raises(FileNotFoundError) as caught:
            open_pipeline(missing)
        told = "no model_index.json; expected a folder that diffusers' save_pretrained wrote"
        assert str(caught.value) == f"{missing}: {told}"


def test_a_family_finds_what_is_missing_of_its_own(teacher_folder: Path, tmp_path: Path) -> None:
    folder = copy(teacher_folder, tmp_path)
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(FileNotFoundError, match="model: tokenizer missing"):
        open_pipeline(folder)
