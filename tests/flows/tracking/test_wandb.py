"""What W&B finds in offline runs. Runs where wandb is installed: it is no part of `make test`."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.tracking.telling import Told, tell
from infra.errors import UserError
from tests.flows.observed.small_store import NOW, Small
from tests.flows.tracking.expected import Expected

HEADER, BLOCK, FRAME = 7, 1 << 15, struct.Struct("<IHB")
FULL, LAST = 1, 4


@pytest.fixture(scope="module")
def folder(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("wandb", reason="wandb is not installed: pip install 'instaflow[wandb]'")
    folder = tmp_path_factory.mktemp("wandb")
    assert tell(small.store, "wandb", str(folder), NOW) == Told(new=6, runs=6)
    return folder


def records(folder: Path, artifact: str) -> Iterator[Any]:
    """The records that `wandb sync` would send: W&B's own messages, in the framing of a LevelDB log."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob(f"offline-run-*/run-{artifact.replace('/', '-')}-*.wandb")
    data, at, message = path.read_bytes(), HEADER, b""
    while at < len(data):
        if BLOCK - at % BLOCK < FRAME.size:  # a frame does not begin where it would not fit
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = FRAME.unpack_from(data, at)
        message, at = message + data[at + FRAME.size : at + FRAME.size + length], at + FRAME.size + length
        if kind in (FULL, LAST):
            yield Record.FromString(message)
            message = b""


def history(folder: Path, artifact: str) -> Iterator[dict[str, Any]]:
    for record in records(folder, artifact):
        if record.WhichOneof("record_type") == "history":
            yield {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}


def test_the_numbers_are_those_of_the_store(folder: Path, expected: Mapping[str, Expected]) -> None:
    for base, one in expected.items():
        found: dict[str, list[tuple[int, float]]] = {}
        for row in history(folder, base):
            for name, value in row.items():
                if not name.startswith("_") and name != "contact_sheet":
                    found.setdefault(name, []).append((row["_step"], value))
        one.require(found)


def test_config_and_origin_are_its_config(folder: Path, small: Small) -> None:
    made = small.made["evaluate"]
    (told,) = (one.run for one in records(folder, made.base) if one.WhichOneof("record_type") == "run")
    config = {item.key or item.nested_key[0]: json.loads(item.value_json) for item in told.config.update}
    assert config["num_images"] == 1000 and config["instaflow.digest"] == made.digest
    assert told.run_id == f"{made.base.replace('/', '-')}-{made.digest[:8]}"
    assert (told.project, told.display_name, told.job_type) == ("instaflow", made.base, "evaluate")


def test_an_evaluation_has_its_contact_sheet(folder: Path, expected: Mapping[str, Expected]) -> None:
    for base in expected:
        sheets = [*folder.glob(f"*{base.replace('/', '-')}*/files/media/images/contact_sheet*.png")]
        assert len(sheets) == base.startswith("evaluate/")


def test_told_again_nothing_is_added(folder: Path, small: Small) -> None:
    before = sorted(folder.rglob("*"))
    assert tell(small.store, "wandb", str(folder), NOW) == Told(new=0, runs=6)
    assert sorted(folder.rglob("*")) == before


def test_without_its_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, small: Small) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"pip install 'instaflow\[wandb\]'"):
        tell(small.store, "wandb", "anywhere", NOW)
