"""Prompts: every source, the same rules, disjoint parts, and errors that name file, field and value."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.store import Store
from infra.store.local import LocalStore
from models.mini.captions import mentioned
from models.mini.scene import ATTRIBUTES, is_held_out
from tasks.data.coco import read_captions
from tasks.data.prompts import distinct, normalise, read_prompts
from tasks.progress import silent
from tasks.sections import PromptsJob
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.tasks.conftest import PERF

LINES = [f"prompt number {i}" for i in range(30)]


def run(store: Store, coco: Artifact | Folder, **fields: object) -> Artifact:
    config = PromptsJob(**{"reflow_count": 12, "distill_count": 5, **fields})  # type: ignore[arg-type]
    return run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, silent)


def texts(artifact: Artifact) -> tuple[list[str], list[str]]:
    """The prompts of the two parts."""
    reflow, distill = (read_prompts(artifact, part) for part in ("reflow", "distill"))
    assert [index for index, _ in reflow + distill] == [*range(len(reflow) + len(distill))]
    return [text for _, text in reflow], [text for _, text in distill]


def text_file(folder: Path, lines: list[str], encoding: str = "utf-8") -> dict[str, object]:
    (folder / "prompts.txt").write_bytes("\n".join(lines).encode(encoding))
    return {"source": "text", "path": str(folder / "prompts.txt")}


def parquet_file(folder: Path, **columns: list[object]) -> dict[str, object]:
    path = folder / f"{'-'.join(columns)}.parquet"
    pq.write_table(pa.table(columns), path)
    return {"source": "parquet", "path": str(path)}


def caption_file(folder: Path, captions: list[str]) -> dict[str, object]:
    content = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(len(captions))],
        "annotations": [{"id": i, "image_id": i, "caption": text} for i, text in enumerate(captions)],
    }
    (folder / "captions.json").write_text(json.dumps(content))
    return {"source": "coco", "path": str(folder / "captions.json")}


def test_every_source_gives_disjoint_parts_of_distinct_prompts(coco: Artifact, store: Store, tmp_path: Path) -> None:
    sources = [
        {"source": "mini"},
        {"source": "coco"},
        caption_file(tmp_path, LINES),
        text_file(tmp_path, LINES),
        parquet_file(tmp_path, prompt=LINES),
        {**parquet_file(tmp_path, words=LINES, prompt=[*range(30)]), "column": "words"},
    ]
    for fields in sources:
        reflow, distill = texts(run(store, coco, **fields))
        assert (len(reflow), len(distill)) == (12, 5)
        assert len({*reflow, *distill}) == 17
        if "path" in fields:
            assert {*reflow, *distill} <= {*LINES}


def test_the_choice_is_a_function_of_the_seed_and_not_of_the_place(coco: Artifact, tmp_path: Path) -> None:
    fields, found = text_file(tmp_path, LINES), []
    (tmp_path / "moved").mkdir()
    moved = text_file(tmp_path / "moved", LINES)
    for number, (where, seed) in enumerate([(fields, 0), (fields, 0), (moved, 0), (fields, 1)]):
        found.append(run(LocalStore(tmp_path / f"store-{number}"), coco, **where, seed=seed))
    assert found[0].digest == found[1].digest == found[2].digest != found[3].digest
    assert texts(found[0]) != texts(found[3])
    assert texts(found[0])[0] != LINES[:12], "a sample, not the beginning of the file"


def test_the_grammar_shows_training_combinations_only(coco: Artifact, store: Store) -> None:
    for prompt in sum(texts(run(store, coco, reflow_count=60)), []):
        said = mentioned(prompt)
        if len(said) == len(ATTRIBUTES):
            assert not is_held_out(tuple(said[name] for name in ATTRIBUTES))


def test_captions_of_the_evaluation_are_left_out_and_everything_dropped_is_counted(
    coco: Artifact, store: Store, tmp_path: Path
) -> None:
    evaluated = [c.text for c in read_captions(coco.folder("coco") / "annotations" / "captions_val2017.json")]
    spaced = "  " + evaluated[0].replace(" ", "\t ")
    fields = text_file(tmp_path, ["", "  ", "x" * 41, LINES[0], *LINES, *evaluated, spaced])
    artifact = run(store, coco, **fields, reflow_count=25, max_characters=40)
    assert {*sum(texts(artifact), [])} == {*LINES}
    too_long = [text for text in evaluated if len(text) > 40]
    assert artifact.manifest.metrics == {
        "read": 5 + len(LINES) - 1 + 1 + len(evaluated),
        "empty": 2,
        "too_long": 1 + len(too_long) + (evaluated[0] in too_long),
        "duplicate": 1,
        "evaluation_caption": len(evaluated) + 1 - len(too_long) - (evaluated[0] in too_long),
        "kept": 30,
    }


@given(st.text())
def test_normal_form_is_stable_and_folds_white_space(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once == once.strip() == unicodedata.normalize("NFC", once)
    assert not re.search(r"\s\s|[\t\n\r]", once)
    assert normalise(f"  {text}\n") == once


@given(st.lists(st.text("ab \t", max_size=4), max_size=30))
def test_each_usable_prompt_comes_once_in_its_order(lines: list[str]) -> None:
    counts = dict.fromkeys(("read", "empty", "too_long", "duplicate", "evaluation_caption"), 0)
    found = [*distinct(lines, {"a"}, 3, counts, 1, stop_early=False)]
    usable = [t for t in map(normalise, lines) if t and t != "a" and len(t) <= 3]
    assert found == [*dict.fromkeys(usable)]
    assert counts["read"] == len(lines) == len(found) + sum(counts.values()) - counts["read"]


def test_composed_and_decomposed_letters_are_one_prompt_and_a_byte_order_mark_is_none(
    coco: Artifact, store: Store, tmp_path: Path
) -> None:
    fields = text_file(tmp_path, ["\ufeffcafe\u0301", "caf\u00e9", *LINES[:16]])
    reflow, distill = texts(run(store, coco, **fields))
    assert {*reflow, *distill} == {"caf\u00e9", *LINES[:16]}


def refused(store: Store, coco: Artifact, **fields: object) -> str:
    with pytest.raises(UserError) as raised:
        run(store, coco, **fields)
    assert store.folders("prompts") == [] or not any(path.endswith("manifest.json") for path in store.list("prompts"))
    return str(raised.value)


def test_a_missing_file_is_named(coco: Artifact, store: Store, tmp_path: Path) -> None:
    for source in ("text", "parquet", "coco"):
        message = refused(store, coco, source=source, path=str(tmp_path / "none"))
        assert re.search(r"^path: .*none: no such file", message)


def test_a_folder_instead_of_a_file_is_named(coco: Artifact, store: Store, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for source in ("text", "parquet"):
        message = refused(store, coco, source=source, path=str(tmp_path / "folder"))
        assert re.search(r"^prompts\.path: no such file: .*folder; expected", message)


@pytest.mark.parametrize("lines", [[], ["", "  "], LINES[:16]])
def test_too_few_prompts_are_counted_and_the_file_named(
    lines: list[str], coco: Artifact, store: Store, tmp_path: Path
) -> None:
    message = refused(store, coco, **text_file(tmp_path, lines))
    usable = len([line for line in lines if line.strip()])
    assert f"prompts.txt holds {usable} usable prompts" in message
    assert "reflow_count + distill_count = 17 expected" in message


def test_the_grammar_can_run_out_too(coco: Artifact, store: Store) -> None:
    message = refused(store, coco, source="mini", reflow_count=100, max_characters=13)
    assert re.search(r"source mini holds \d+ usable prompts .*too_long", message)


def test_a_file_that_is_not_utf_8_is_named(coco: Artifact, store: Store, tmp_path: Path) -> None:
    message = refused(store, coco, **text_file(tmp_path, ["caf\u00e9", *LINES], "latin-1"))
    assert re.search(r"^prompts\.path: .*prompts\.txt is not UTF-8 .*0xe9", message)


def test_a_missing_column_is_named_with_those_there_are(coco: Artifact, store: Store, tmp_path: Path) -> None:
    fields = parquet_file(tmp_path, caption=LINES, url=LINES)
    assert re.search(
        r"^prompts\.column: .*caption-url\.parquet has no column 'prompt'; its columns are caption, url",
        refused(store, coco, **fields),
    )


def test_a_column_of_numbers_is_named_with_its_type(coco: Artifact, store: Store, tmp_path: Path) -> None:
    message = refused(store, coco, **parquet_file(tmp_path, prompt=[*range(30)]))
    assert re.search(r"^prompts\.column: column 'prompt' of .* is of type int64; expected string", message)


@pytest.mark.parametrize("data", [b"", b"PAR1 but no more", b"prompt\nand another\n"])
def test_a_file_that_is_not_parquet_is_named(data: bytes, coco: Artifact, store: Store, tmp_path: Path) -> None:
    (tmp_path / "some.parquet").write_bytes(data)
    message = refused(store, coco, source="parquet", path=str(tmp_path / "some.parquet"))
    assert re.search(r"^prompts\.path: .*some\.parquet is not a Parquet file", message)


def test_a_plain_folder_is_no_prompts_artifact(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a plain folder; expected the artifact of a stage"):
        read_prompts(Folder.open(tmp_path), "reflow")
