"""What TensorBoard's own reader finds in the event files."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from flows.tracking.telling import Told, tell
from infra.errors import UserError
from tests.flows.observed.small_store import NOW, Small
from tests.flows.tracking.expected import Expected


@pytest.fixture(scope="module")
def folder(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tensorboard")
    assert tell(small.store, "tensorboard", str(folder), NOW) == Told(new=6, runs=6)
    return folder


def read(folder: Path, expected: Expected) -> Any:
    (events,) = folder.glob(f"*/{expected.artifact.base.replace('/', '-')}-*")
    assert events.parent.name == expected.artifact.stage
    found = EventAccumulator(str(events), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    return found.Reload()


def test_the_numbers_are_those_of_the_store(folder: Path, expected: Mapping[str, Expected]) -> None:
    for one in expected.values():
        found = read(folder, one)
        one.require({name: [(e.step, e.value) for e in found.Scalars(name)] for name in found.Tags()["scalars"]})


def test_the_config_is_a_row_of_the_table_of_parameters(folder: Path, expected: Mapping[str, Expected]) -> None:
    one = next(one for one in expected.values() if one.artifact.stage == "evaluate")
    content = read(folder, one).summary_metadata["_hparams_/session_start_info"].plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["num_images"].number_value == 1000 and told["seed"].number_value == 1000
    assert json.loads(told["steps"].string_value) == [25, 8, 4, 2, 1]


def test_what_it_is_stands_beside_the_numbers(folder: Path, small: Small, expected: Mapping[str, Expected]) -> None:
    one = expected[small.made["distill"].base]
    (told,) = read(folder, one).Tensors("made/text_summary")
    text = told.tensor_proto.string_val[0].decode()
    assert f"| artifact | `{one.artifact.base}` |" in text and f"| digest | `{one.artifact.digest}` |" in text
    assert "| recipe | `mini` |" in text and f"| made_of.pairs | `{small.made['pairs-student'].base}` |" in text


def test_an_evaluation_has_its_contact_sheet(folder: Path, expected: Mapping[str, Expected]) -> None:
    for one in expected.values():
        sheets = read(folder, one).Tags()["images"]
        assert sheets == (["contact_sheet"] if one.artifact.stage == "evaluate" else [])


def test_told_again_nothing_changes(folder: Path, small: Small) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert tell(small.store, "tensorboard", str(folder), NOW) == Told(new=0, runs=6)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_without_its_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'instaflow\[tensorboard\]'"):
        tell(small.store, "tensorboard", "anywhere", NOW)
