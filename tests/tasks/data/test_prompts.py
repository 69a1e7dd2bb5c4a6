"""Prompts: every source, the same rules, disjoint parts, and errors that name file, field and value."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact, Folder
from infra.errors import UserError
from infra.store import Store, open_store
from infra.store.local import LocalStore
from models.mini.captions import mentioned
from models.mini.scene import ATTRIBUTES, draw_scene, generator, is_held_out
from tasks.data import prompt_reading
from tasks.data import prompts as module
from tasks.data.coco import read_captions
from tasks.data.part_prompts import PartPrompts
from tasks.data.prompt_sources import grammar
from tasks.order import derive_seed
from tasks.progress import silent
from tasks.sections import PromptFilters, PromptsJob
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.s3 import BUCKET, S3Server
from tests.tasks.conftest import PERF, Killed
from tests.tasks.data.prompt_files import laion, sentences, split, write_parquet

LINES = [
    f"{what} {where}"
    for what in ("A lighthouse", "Seven sleeping cats", "An old bicycle", "Fog", "Somebody's violin", "A bowl of plums")
    for where in ("under water", "in the morning", "painted by a child", "beside two strangers", "on Mars")
]


def run(store: Store, coco: Artifact | Folder, **fields: object) -> Artifact:
    config = PromptsJob(**{"reflow_count": 12, "distill_count": 5, **fields})  # type: ignore[arg-type]
    return run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, silent)


def texts(artifact: Artifact) -> tuple[list[str], list[str]]:
    """The prompts of the two parts."""
    reflow, distill = [*PartPrompts(artifact, "reflow")], [*PartPrompts(artifact, "distill")]
    assert [index for index, _ in reflow + distill] == [*range(len(reflow) + len(distill))]
    return [text for _, text in reflow], [text for _, text in distill]


def text_file(folder: Path, lines: list[str], encoding: str = "utf-8") -> dict[str, object]:
    (folder / "prompts.txt").write_bytes("\n".join(lines).encode(encoding))
    return {"source": "text", "path": str(folder / "prompts.txt")}


def parquet_file(folder: Path, **columns: list[object]) -> dict[str, object]:
    path = folder / f"{'-'.join(columns)}.parquet"
    pq.write_table(pa.table(columns), path)
    return {"source": "parquet", "path": str(path), "column": "prompt"}


def jsonl_file(folder: Path, rows: list[object]) -> dict[str, object]:
    (folder / "prompts.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    return {"source": "jsonl", "path": str(folder / "prompts.jsonl"), "column": "prompt"}


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
        jsonl_file(tmp_path, [{"url": 1, "prompt": line} for line in LINES]),
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
    fields = text_file(tmp_path, ["", "  ", "no", "x" * 101, LINES[0].upper(), *LINES, *evaluated])
    artifact = run(store, coco, **fields, reflow_count=25, min_characters=3, max_characters=100)
    assert {text.lower() for text in sum(texts(artifact), [])} == {text.lower() for text in LINES}
    assert artifact.manifest.metrics == {
        "read": 5 + len(LINES) + len(evaluated),
        "empty": 2,
        "too_short": 1,
        "too_long": 1,
        "evaluation_caption": len(evaluated),
        "duplicate": 1,
        "near_duplicate": 0,
        "not_needed": 0,
        "kept": 30,
    }


def test_every_caption_of_an_evaluated_picture_is_left_out_however_it_is_written(
    coco: Artifact, store: Store, tmp_path: Path
) -> None:
    content = json.loads((coco.folder("coco") / "annotations" / "captions_val2017.json").read_text())
    every = [one["caption"] for one in content["annotations"]]
    assert len(every) == 2 * len(content["images"]), "the evaluation reads one of the two"
    rewritten = ["  " + every[0].replace(" ", "\t "), every[1].upper() + "!", every[2].replace(" ", "-")]
    artifact = run(store, coco, **text_file(tmp_path, [*LINES, *every, *rewritten]))
    assert {*sum(texts(artifact), [])} <= {*LINES}
    assert artifact.manifest.metrics["evaluation_caption"] == len(every) + 3


def test_prompts_and_scenes_of_the_evaluation_share_no_random_numbers(tmp_path: Path) -> None:
    """With one seed for both, 96% of the prompts had the shape of the scene at their index."""
    count, seed = 400, 1
    world = [draw_scene(generator(seed, index), held_out=True).shape for index in range(count)]
    (piece,) = grammar(derive_seed(seed, "prompts", "mini"), count)
    said = [mentioned(text).get("shape") for table, _ in piece.read() for text in table.column(0).to_pylist()]
    pairs = [(shape, other) for shape, other in zip(said, world, strict=True) if shape]
    assert len(pairs) > count / 2 and sum(one == other for one, other in pairs) / len(pairs) < 0.3, "1 of 6 by chance"


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


def test_a_missing_file_is_named_by_its_field_in_the_recipe(coco: Artifact, store: Store, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in ("text", "jsonl", "parquet", "coco"):
        for name in ("none", "none/*.txt", "empty"):
            message = refused(store, coco, source=source, path=str(tmp_path / name))
            assert message.startswith(f"prompts.path: {tmp_path / name}: no such file or folder")


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
    assert re.search(r"^prompts\.path: .*prompts\.txt is not UTF-8, line 1: .*0xe9", message)


def everything(artifact: Artifact) -> list[str]:
    return sum(texts(artifact), [])


LAION = {"source": "parquet", "reflow_count": 60, "distill_count": 20}
FILTERS = PromptFilters(
    min_similarity=0.25, min_aesthetic=4.0, languages=("en",), min_width=512, min_height=512, nsfw=("UNLIKELY",),
    max_punsafe=0.9,
)  # fmt: skip


def test_laion_is_filtered_and_counted_and_every_prompt_has_its_row(
    coco: Artifact, store: Store, tmp_path: Path
) -> None:
    table = laion([*sentences(3000), None, ""])
    for number, part in enumerate(split(table, [*range(3002)], 3)):
        write_parquet(tmp_path / "laion" / f"part-{number}.parquet", part, compression="zstd" if number else "snappy")
    artifact = run(store, coco, **LAION, path=str(tmp_path / "laion"), filters=FILTERS)
    for one in pq.read_table(artifact.fetch("prompts.parquet")).to_pylist():
        at = 3 * one["source_row"] + int(one["source_file"][5])
        assert one["source_file"] == f"part-{at % 3}.parquet" and table["TEXT"][at] == one["prompt"]
        assert table["similarity"][at] >= 0.25 and table["AESTHETIC_SCORE"][at] >= 4 and table["LANGUAGE"][at] == "en"
        assert min(table["WIDTH"][at], table["HEIGHT"][at]) >= 512 and table["NSFW"][at] == "UNLIKELY"
        assert table["punsafe"][at] <= 0.9
    metrics: dict[str, Any] = dict(artifact.manifest.metrics)
    assert all(metrics[name] for name in PromptFilters.model_fields), "each of them refused something"
    assert metrics.pop("read") == sum(metrics.values()) == 3002 and metrics["kept"] == 80


def test_the_sample_is_the_same_however_the_rows_are_split_and_ordered(coco: Artifact, tmp_path: Path) -> None:
    lines = sentences(500)
    table = laion([*lines, *(text.upper() for text in lines[:50]), *(f"{text} indeed" for text in lines[:50])])
    order, found = [*range(600)], []
    for number, parts in enumerate((1, 4, 7)):
        folder = tmp_path / f"split-{number}"
        for part, some in enumerate(split(table, order, parts)):
            write_parquet(folder / f"{part}.parquet", some)
        artifact = run(LocalStore(tmp_path / f"store-{number}"), coco, **LAION, path=str(folder))
        found.append((everything(artifact), artifact.manifest.metrics))
        random.Random(number).shuffle(order)
    assert found[0] == found[1] == found[2] and len(found[0][0]) == 80
    assert found[0][1]["duplicate"] and found[0][1]["near_duplicate"], "the counts are the same, too"
    larger = run(LocalStore(tmp_path / "larger"), coco, **{**LAION, "reflow_count": 200}, path=str(folder))
    assert everything(larger)[:80] == found[0][0], "a larger sample goes on where the smaller one ends"


def test_too_few_candidates_are_read_again_and_the_sample_is_the_same(
    coco: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each prompt comes in twelve near copies."""
    lines = [f"{text}, {n} of 12" for text in sentences(200) for n in range(12)]
    fields = {**text_file(tmp_path, lines), "reflow_count": 150, "distill_count": 20}
    found = []
    for number, spare in enumerate((1.0, 30.0)):
        monkeypatch.setattr(module, "SPARE", spare)
        artifact = run(LocalStore(tmp_path / f"store-{number}"), coco, **fields)
        found.append((everything(artifact), artifact.manifest.metrics))
    assert found[0] == found[1] and len(found[0][0]) == 170
    assert found[0][1]["near_duplicate"] > 30, "the first 170 did not do, and what they were replaced by neither"
    kept = run(LocalStore(tmp_path / "all"), coco, **fields, near_duplicates=None)
    assert kept.manifest.metrics["near_duplicate"] == 0


def test_a_killed_stage_goes_on_and_makes_the_same(
    coco: Artifact, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_reading, "SAVE_EVERY_S", 0.0)
    for number, part in enumerate(split(laion(sentences(400)), [*range(400)], 5)):
        write_parquet(tmp_path / "laion" / f"{number}.parquet", part, row_group_size=1000)
    config, calls = PromptsJob(**LAION, path=str(tmp_path / "laion")), 0  # type: ignore[arg-type]

    def dies(done: int, total: int, unit: str) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise Killed

    with pytest.raises(Killed):
        run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, dies)
    left = [path for path in store.list("prompts") if path.endswith(".json")]
    assert left[-1].endswith("checkpoints/candidates-120/step-00000003.json")
    again = run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, silent)
    monkeypatch.undo()
    whole = run_stage(STAGES["prompts"], config, {"coco": coco}, LocalStore(tmp_path / "other"), PERF, silent)
    assert again.digest == whole.digest and again.manifest.metrics == whole.manifest.metrics
    assert not any("checkpoints" in path for path in store.list("prompts"))


def test_progress_counts_megabytes_of_the_source(coco: Artifact, store: Store, tmp_path: Path) -> None:
    lines = [f"{text} {'and so on ' * 60}" for text in sentences(4000)]
    config = PromptsJob(**text_file(tmp_path, lines), reflow_count=2, distill_count=2, near_duplicates=None)  # type: ignore[arg-type]
    told: list[tuple[int, int, str]] = []
    run_stage(STAGES["prompts"], config, {"coco": coco}, store, PERF, lambda *at: told.append(at))
    assert told[0] == (0, 3, "MB") and told[-1] == (3, 3, "MB") and told == sorted(told)


def test_from_an_object_store(
    rclone: S3Server, coco: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list of prompts in S3 makes what the same list on the disk makes: where it lies is no part of its identity."""
    for name, value in rclone.environment().items():
        monkeypatch.setenv(name, value)
    remote = open_store(f"s3://{BUCKET}/{tmp_path.name}")
    for number, part in enumerate(split(laion(sentences(300)), [*range(300)], 2)):
        remote.upload(write_parquet(tmp_path / "laion" / f"{number}.parquet", part), f"laion/{number}.parquet")
    filters = PromptFilters(languages=("en",))
    local, far = (
        run(LocalStore(tmp_path / name), coco, **LAION, path=path, filters=filters)  # type: ignore[arg-type]
        for name, path in (("one", str(tmp_path / "laion")), ("two", f"{remote.url}/laion/*.parquet"))
    )
    assert local.digest == far.digest and local.manifest.metrics == far.manifest.metrics
    assert [one.uri for one in far.manifest.inputs if one.role == "path"] == [f"{remote.url}/laion/*.parquet"]
