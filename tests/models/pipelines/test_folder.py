"""A folder is judged by its JSON files and file names: what it is, and what is wrong with it by file and field."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from torch import nn

from models.pipelines.folder import MARKER, SOLVERS, Described, check_folder
from models.pipelines.opening import open_pipeline
from models.solvers import DIFFUSION_SOLVERS, FLOW_SOLVERS
from tasks.sections import Solver
from tests import ROOT
from tests.models.pipelines.folders import copy, edit

WEIGHTS = "diffusion_pytorch_model"


@pytest.fixture
def folder(teacher_folder: Path, tmp_path: Path) -> Path:
    return copy(teacher_folder, tmp_path)


def test_what_a_folder_is(teacher_folder: Path, flow_folder: Path, folder: Path) -> None:
    parts = open_pipeline(teacher_folder).pipeline.components.items()
    sizes = {name: sum(one.numel() for one in part.parameters()) for name, part in parts if isinstance(part, nn.Module)}
    assert check_folder(teacher_folder) == Described("StableDiffusionPipeline", "diffusion", None, (), sizes)
    assert check_folder(flow_folder) == Described("StableDiffusionPipeline", "raw", None, (), sizes)
    (folder / MARKER).write_text('{"parameterization": "converted"}')
    assert check_folder(folder).parameterization == "converted"


def test_every_solver_is_known_by_what_it_solves() -> None:
    assert set(SOLVERS["diffusion"]) == {*DIFFUSION_SOLVERS}
    assert set(SOLVERS["raw"]) == set(SOLVERS["converted"]) == {*FLOW_SOLVERS}
    assert {*SOLVERS["diffusion"], *SOLVERS["raw"]} == {*get_args(Solver)}, "what a recipe may say"


def test_nothing_heavy_is_imported(teacher_folder: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from models.pipelines.folder import check_folder;"
        f" check_folder(Path({str(teacher_folder)!r}));"
        " assert not {'torch', 'diffusers', 'transformers', 'numpy'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("file", ["model_index.json", "unet/config.json", "vae/config.json", MARKER,
                                  "text_encoder/config.json", "scheduler/scheduler_config.json"])  # fmt: skip
@pytest.mark.parametrize("content", ["{", "[1]", "", "\x00", "[" * 100_000])
def test_a_broken_config_is_named(file: str, content: str, folder: Path) -> None:
    (folder / file).write_text(content)
    with pytest.raises(ValueError, match=rf"{file}: (not JSON|holds a list; expected a JSON object)"):
        check_folder(folder)


@pytest.mark.parametrize(
    ("file", "field", "value", "told"),
    [
        ("unet", "cross_attention_dim", 768, r"width of the text: 768 \(unet.*\) against 64 \(text_encoder.*equal"),
        ("unet", "cross_attention_dim", None, r"width of the text: None \(unet"),
        ("text_encoder", "hidden_size", "64", r'text_encoder/config.json: hidden_size is "64"; expected a whole'),
        ("unet", "out_channels", 8, r"channels of a latent: 8 \(unet/config.json: out_channels\) against 4"),
        ("unet", "sample_size", None, r"unet/config.json: sample_size is null; expected the side of a square latent"),
        ("unet", "sample_size", [8, 16], r"unet/config.json: sample_size is \[8, 16\]; expected the side of a square"),
        ("unet", "sample_size", 0, r"unet/config.json: sample_size is 0; expected the side"),
        ("unet", "time_cond_proj_dim", 256, r"unet/config.json: time_cond_proj_dim is 256; expected null"),
        ("text_encoder", "use_attention_mask", True, r"use_attention_mask is true; expected null or false"),
        ("unet", "addition_embed_type", "text", r'addition_embed_type is "text"; expected null'),
    ],
)
def test_numbers_that_do_not_fit_are_told_with_file_field_and_value(
    file: str, field: str, value: object, told: str, folder: Path
) -> None:
    edit(folder / file / "config.json", lambda config: config.update({field: value}))
    with pytest.raises(ValueError, match=told):
        check_folder(folder)


def test_a_side_may_be_two_equal_ones(folder: Path) -> None:
    edit(folder / "unet" / "config.json", lambda config: config.update(sample_size=[8, 8]))
    check_folder(folder)


def test_a_variant_is_found_where_there_is_nothing_else(folder: Path) -> None:
    weights = folder / "unet" / f"{WEIGHTS}.safetensors"
    weights.rename(weights.with_name(f"{WEIGHTS}.fp16.safetensors"))
    assert check_folder(folder).variant == "fp16"
    shutil.copy(
        weights.with_name(f"{WEIGHTS}.fp16.safetensors"), weights.with_name(f"{WEIGHTS}-00001-of-00002.safetensors")
    )
    assert check_folder(folder).variant is None
    weights.with_name(f"{WEIGHTS}-00001-of-00002.safetensors").unlink()
    other = folder / "vae" / f"{WEIGHTS}.safetensors"
    other.rename(other.with_name(f"{WEIGHTS}.bf16-00001-of-00002.safetensors"))
    with pytest.raises(ValueError, match=r"different variants \(bf16, fp16\)"):
        check_folder(folder)


@pytest.mark.parametrize("file", ["tokenizer.json", "tokenizer_config.json"])
def test_a_broken_tokenizer_is_named(file: str, folder: Path) -> None:
    (folder / "tokenizer" / file).write_text("{")
    with pytest.raises(ValueError, match=rf"tokenizer/{file}: not JSON"):
        check_folder(folder)
    (folder / "tokenizer" / file).unlink()
    if file == "tokenizer.json":
        with pytest.raises(FileNotFoundError, match=r"tokenizer: no vocabulary; expected one of tokenizer\.json"):
            check_folder(folder)


def test_a_pickle_is_refused_with_what_to_do(folder: Path) -> None:
    weights = folder / "unet" / f"{WEIGHTS}.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(ValueError, match=rf"unet: its weights are a pickle \({WEIGHTS}\.bin\).*save_pretrained"):
        check_folder(folder)


@pytest.mark.parametrize("told", [{"parameterization": "raw"}, {}, {"parameterization": "converted", "more": 1}])
def test_an_unknown_marker_is_refused(told: dict[str, object], folder: Path) -> None:
    (folder / MARKER).write_text(json.dumps(told))
    with pytest.raises(ValueError, match=rf"{MARKER}: .* beside a diffusion scheduler; expected"):
        check_folder(folder)
