"""Opening a stage's model: from a folder or an artifact, with errors in the user's words."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from infra.artifact import Folder
from infra.errors import UserError
from infra.store import Store
from tasks.data.load import load_folder, load_model
from tests.tasks.small_run import commit


def test_a_folder_and_an_artifact_hold_the_same_model(flow: Folder, store: Store) -> None:
    made = commit(store, "reflow-1", {"model": flow.path})
    one, other = load_model(flow), load_model(made)
    assert one.parameterization == other.parameterization == "raw"
    for name, parameter in one.denoiser.named_parameters():
        assert parameter.equal(other.denoiser.get_parameter(name))


def test_a_model_is_loaded_in_the_asked_precision(flow: Folder) -> None:
    assert load_model(flow).dtype == torch.float32
    assert load_model(flow, "bf16").dtype == torch.bfloat16


def test_a_folder_that_holds_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^model: {re.escape(str(tmp_path))}: no model_index\.json; expected"):
        load_folder(tmp_path)


def test_a_pipeline_of_an_unknown_family_is_named(flow: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flow.path, tmp_path / "other"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": "WuerstchenPipeline"}))
    with pytest.raises(UserError, match=r"^model: .*_class_name is 'WuerstchenPipeline'; expected one of"):
        load_folder(folder)


def test_components_that_do_not_fit_are_named_with_both_numbers(flow: Folder, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(flow.path, tmp_path / "other"))
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps({**config, "latent_channels": 16}))
    with pytest.raises(UserError, match=r"^model: .*channels of a latent: 4 .* against 16 .*must be equal"):
        load_folder(folder)
