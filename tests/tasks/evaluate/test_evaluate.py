"""The evaluation: exactly the documented records, the same noise for every model, the same digest when resumed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from infra.artifact import Artifact, Draft, Folder, Source
from infra.errors import UserError
from infra.store import Store
from infra.store.local import LocalStore
from models.pipelines.text_to_image import TextToImage
from tasks.evaluate import evaluate as module
from tasks.evaluate.evaluate import Evaluation
from tasks.evaluate.measured import read_metrics
from tasks.progress import Progress, silent
from tasks.roles import RECTIFIED
from tasks.sections import Clip, EvaluateJob, Pictures, RealJob
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.models.judges import networks
from tests.tasks.conftest import PERF, Killed, killed_after

JOB = EvaluateJob(num_images=4, steps=(1, 2), teacher_steps=2, teacher_guidance=2.0, straightness_images=3)
NUMBERS = (
    "frechet_distance", "frechet_distance_coco", "kid", "precision", "recall", "frechet_distance_dinov2", "cmmd",
    "clip_score", "attribute_accuracy", "straightness", "distance_to_own_teacher", "median_distance_to_own_teacher",
    "distance_to_teacher", "median_distance_to_teacher", "seconds_per_image", "images_per_second",
)  # fmt: skip
CELL_FIELDS = ("model", "steps", "guidance", "solver", "num_images")
FIELDS = (*CELL_FIELDS, *(field for name in NUMBERS for field in (name, f"{name}_interval")))
"""The stable schema of a record: dashboards read it."""

EXTRAS = NUMBERS[2:7]
"""Absent where nobody asks for them."""

CELLS = [
    ("floor", 2, 2.0, "dpmsolver++"),
    ("teacher", 2, 2.0, "dpmsolver++"),
    ("teacher", 1, 2.0, "dpmsolver++"),
    ("2-rf", 2, 1.5, "euler"),
    ("2-rf", 1, 1.5, "euler"),
    ("student", 1, 1.0, "euler"),
    ("direct", 1, 1.0, "euler"),
]


@pytest.fixture(scope="session")
def inputs(coco: Artifact, teacher: Folder, flow: Folder, clip: Folder) -> dict[str, Source]:
    """Student and direct are the 2-RF itself."""
    flows = dict.fromkeys(("rectified", "student", "direct"), flow)
    return {"coco": coco, "teacher": teacher, "judge": clip, **flows}


@pytest.fixture(scope="session")
def evaluation(inputs: dict[str, Source], shared: Store) -> Artifact:
    return run(inputs, shared)


def run(inputs: dict[str, Source], store: Store, job: EvaluateJob = JOB, progress: Progress = silent) -> Artifact:
    """An evaluation after the real pictures were looked at, as the algorithm does it."""
    roles = ("coco", "judge", *(["teacher"] if job.pictures.size is None else []))
    looked_at = {role: inputs[role] for role in roles if role in inputs}
    real = run_stage(STAGES["real"], RealJob.of(job, job.coco), looked_at, store, PERF, silent)
    return run_stage(STAGES["evaluate"], job, {**inputs, "real": real}, store, PERF, progress)


class Listed(LocalStore):
    """A local store that counts listings."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.lists = 0

    def sizes(self, prefix: str = "") -> dict[str, int]:
        self.lists += 1
        return super().sizes(prefix)


def metrics(artifact: Artifact) -> dict[str, Any]:
    return json.loads(artifact.fetch("metrics.json").read_text())  # type: ignore[no-any-return]


def records(artifact: Artifact) -> dict[tuple[str, int], dict[str, Any]]:
    return {(record["model"], record["steps"]): record for record in metrics(artifact)["records"]}


def test_there_is_one_record_per_model_and_steps_and_one_for_the_floor(evaluation: Artifact) -> None:
    found = metrics(evaluation)["records"]
    assert [(r["model"], r["steps"], r["guidance"], r["solver"]) for r in found] == CELLS
    assert all(r["num_images"] == 4 for r in found)


def test_a_record_has_exactly_the_documented_fields(evaluation: Artifact) -> None:
    for record in metrics(evaluation)["records"]:
        assert tuple(record) == FIELDS
        absent = {name for name in NUMBERS if record[name] is None}
        expected = {*EXTRAS}
        if (record["model"], record["steps"]) not in {("teacher", 2), ("2-rf", 2)}:
            expected |= {"straightness"}
        if record["model"] == "floor":
            expected |= {"seconds_per_image", "images_per_second"}
        if (record["model"], record["steps"]) in {("floor", 2), ("teacher", 2)}:
            expected |= {name for name in NUMBERS if "distance_to" in name}  # others are compared with it
        assert absent == expected, record
        assert {name for name in NUMBERS if record[f"{name}_interval"] is None} == absent
        assert all(v >= 0 for k, v in record.items() if isinstance(v, float) and k != "clip_score")
        assert -1 <= record["clip_score"] <= 1 and record["attribute_accuracy"] <= 1


def test_the_store_is_not_listed_for_each_shard(inputs: dict[str, Source], tmp_path: Path) -> None:
    alone = {role: inputs[role] for role in ("coco", "teacher", "judge")}
    counts = []
    for shard_size in (1, JOB.num_images):
        store = Listed(tmp_path / f"store-{shard_size}")
        made = run(alone, store, JOB.model_copy(update={"steps": (1,), "teacher_steps": 1, "shard_size": shard_size}))
        counts.append((store.lists, len(made.manifest.units)))
    (many, units), (few, groups) = counts
    assert many == few and units == groups + 2 * (JOB.num_images - 1), counts


def test_the_tables_are_what_the_readers_expect(evaluation: Artifact) -> None:
    read = read_metrics(evaluation.fetch("metrics.json"))
    assert [record.model_dump() for record in read.records] == metrics(evaluation)["records"]
    assert pq.read_table(evaluation.fetch("metrics.parquet")).to_pylist() == metrics(evaluation)["records"]
    assert evaluation.manifest.metrics == {"records": len(CELLS)}


def test_the_protocol_stands_beside_the_numbers(evaluation: Artifact) -> None:
    protocol = metrics(evaluation)["protocol"]
    assert {"captions", "num_images", "seeds", "dtype", "autoencoder", "safety_checker", "features",
            "features_digest", "clip", "versions", "machine", "size", "pictures"} <= protocol.keys()  # fmt: skip
    assert len(protocol["captions"]["sha256"]) == 64 and protocol["clip"]["prompt_prefix"] == ""


def test_the_units_are_those_of_the_extent(evaluation: Artifact, inputs: dict[str, Source]) -> None:
    with Draft(evaluation.store, evaluation.stage, evaluation.fingerprint) as draft:
        assert sorted(draft.units()) == sorted(STAGES["evaluate"].extent(JOB, inputs).ids)


def test_timings_are_outside_the_digest(evaluation: Artifact) -> None:
    volatile = {file.name for file in evaluation.manifest.files if file.volatile}
    assert volatile == {"metrics.json", "metrics.parquet", "speed.safetensors"}


def test_times_are_told_with_what_else_the_machine_did(
    evaluation: Artifact, inputs: dict[str, Source], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = metrics(evaluation)["protocol"]["load"]
    assert load["used_by_others"] >= 0 and load["cores"] == os.cpu_count() and load["disturbed"] in (True, False)
    timed = Evaluation._speed
    monkeypatch.setattr(Evaluation, "_speed", lambda self: {n: one for n, one in timed(self).items() if n != "load"})
    again = run(inputs, store, JOB)
    assert metrics(again)["protocol"]["load"] is None, "the unit of an older version"
    assert again.digest == evaluation.digest, "no part of what is measured"


def test_the_report_finds_its_pictures_and_paths(evaluation: Artifact) -> None:
    contact = load_file(evaluation.fetch("contact.safetensors"))
    assert {*contact} == {f"{model}-{steps}" for model, steps, *_ in CELLS if model != "floor"}
    assert all(picture.shape == (4, 3, 32, 32) for picture in contact.values())
    prompts = json.loads(evaluation.fetch("contact.json").read_text())["prompts"]
    assert len(prompts) == 4
    paths = load_file(evaluation.fetch("paths.safetensors"))
    assert {name: path.shape for name, path in paths.items()} == dict.fromkeys(("teacher", "2-rf"), (3, 3, 4, 8, 8))


def test_the_same_model_under_two_names_gets_the_same_numbers(inputs: dict[str, Source], store: Store) -> None:
    job = JOB.model_copy(update={"steps": (1,), "teacher_steps": 1, "rectified_guidance": 1.0})
    found = records(run(inputs, store, job))
    names = ("frechet_distance", "frechet_distance_coco", "clip_score", "attribute_accuracy")
    for model in ("student", "direct"):
        for name in names:
            assert found[model, 1][name] == pytest.approx(found["2-rf", 1][name], rel=1e-4, abs=1e-6)
    # The same noise and prompts: nothing lies between the student and its teacher, the 2-RF ...
    assert found["student", 1]["distance_to_own_teacher"] < 1e-6
    # ... and the direct student is measured against the teacher, as the 2-RF is.
    direct = found["direct", 1]["distance_to_own_teacher"]
    assert direct == pytest.approx(found["2-rf", 1]["distance_to_own_teacher"], rel=1e-3) and direct > 0.1
    assert found["2-rf", 1]["straightness"] is None, "one step is straight, whatever the model"


def test_the_floor_is_measured_on_the_other_pictures(evaluation: Artifact) -> None:
    found = records(evaluation)
    floor, teacher = found["floor", 2], found["teacher", 2]
    assert floor["frechet_distance"] == pytest.approx(teacher["frechet_distance"], rel=1e-6)
    assert floor["frechet_distance"] > 1e-6
    for name in ("frechet_distance_coco", "clip_score"):  # real against real; other captions
        assert floor[name] != teacher[name]


def test_captions_are_never_used_twice_and_too_few_are_refused(inputs: dict[str, Source], store: Store) -> None:
    alone = JOB.model_copy(update={"num_images": 8, "steps": (1,), "teacher_steps": 1, "reference": "none"})
    with pytest.raises(UserError) as told:
        run(inputs, store, alone.model_copy(update={"reference": "other_captions"}))
    assert str(told.value).startswith(
        "evaluate.num_images: 8 pictures need 16 captions, half of them for the reference, and "
    )
    assert str(told.value).endswith(
        'holds 12. Set num_images to 6 or less or evaluate.reference to "none", or name a larger caption file.'
    )
    with pytest.raises(UserError, match=r"13 pictures need 13 captions, and .* Set num_images to 12 or less, or"):
        run(inputs, store, alone.model_copy(update={"num_images": 13}))
    assert not [*store.list("evaluate"), *store.list("real")], "refused before anything was measured"
    found = run(inputs, store, alone)
    assert {model for model, _ in records(found)} == {"teacher", "2-rf", "student", "direct"}, "there is no floor"
    assert all(record["frechet_distance"] is None for record in records(found).values())
    protocol = metrics(found)["protocol"]
    assert (protocol["reference"], protocol["floor"]) == (None, None)
    assert protocol["evaluated"] == "captions 1 to 8 of 12"


@pytest.mark.slow
@pytest.mark.parametrize("told", [1, 5, 10])  # after the reference, within the cells, at the end
def test_stopped_anywhere_and_repeated_gives_the_same_digest(
    told: int, evaluation: Artifact, inputs: dict[str, Source], tmp_path: Path
) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(Killed):
        run(inputs, store, progress=killed_after(told))
    shown: list[tuple[int, int]] = []
    again = run(inputs, store, progress=lambda done, total, _: shown.append((done, total)))
    assert again.digest == evaluation.digest
    # 7 x 4 sampled, 2 x 3 simulated, 15 rounds of times
    assert {total for _, total in shown} == {49} and shown[-1][0] == 49


def test_what_does_not_fit_into_memory_is_drawn_in_smaller_batches(
    inputs: dict[str, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures and paths alike; of the paths as many are kept as of one whole batch."""
    monkeypatch.setattr(sys.modules[__name__], "PERF", PERF.model_copy(update={"sample_batch_size": 2}))
    expected = run(inputs, LocalStore(tmp_path / "two"))
    monkeypatch.setattr(sys.modules[__name__], "PERF", PERF.model_copy(update={"sample_batch_size": 4}))

    def at_most_two(do: Callable[..., Any], place: int) -> Callable[..., Any]:
        def small(*told: Any) -> Any:
            if len(told[place]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return do(*told)

        return small

    monkeypatch.setattr(TextToImage, "decode", at_most_two(TextToImage.decode, 1))
    monkeypatch.setattr(module, "straightness", at_most_two(module.straightness, 1))
    found = run(inputs, LocalStore(tmp_path / "four"))
    for cell, record in records(expected).items():  # the judges look at as many real pictures at once as told
        for name in ("clip_score", "straightness", "distance_to_own_teacher"):
            assert (records(found)[cell][name] or 0.0) == pytest.approx(record[name] or 0.0, rel=1e-4), (cell, name)
    said = capsys.readouterr().err
    assert said.count("out of memory with 4 samples at once; going on with 2") == 1
    for one in (expected, found):
        assert load_file(one.fetch("paths.safetensors"))["teacher"].shape[0] == JOB.straightness_images


def test_the_statistics_of_shards_add_up(evaluation: Artifact, inputs: dict[str, Source], store: Store) -> None:
    sharded = run(inputs, store, JOB.model_copy(update={"shard_size": 3}))
    for one, parts in zip(metrics(evaluation)["records"], metrics(sharded)["records"], strict=True):
        numbers = {name: value for name, value in one.items() if isinstance(value, float) and "_per_" not in name}
        assert {name: parts[name] for name in numbers} == pytest.approx(numbers, rel=1e-4, abs=1e-5)
    units = {path.rpartition("/")[2] for path in store.list("evaluate") if "/units/" in path}
    assert {"2-rf-1.00000.json", "2-rf-1.00001.json", "reference.00001.json"} <= units


def test_more_steps_than_the_reference_takes(inputs: dict[str, Source], store: Store) -> None:
    found = records(run(inputs, store, JOB.model_copy(update={"steps": (1, 3)})))
    assert [key for key in found if key[0] == "teacher"] == [("teacher", 2), ("teacher", 3), ("teacher", 1)]
    assert found["floor", 2]["frechet_distance"] == pytest.approx(found["teacher", 2]["frechet_distance"])
    assert found["teacher", 3]["distance_to_own_teacher"] > 0


def test_without_the_baseline_there_is_no_record_of_it(inputs: dict[str, Source], store: Store) -> None:
    fewer = {role: source for role, source in inputs.items() if role != "direct"}
    job = JOB.model_copy(update={"steps": (1,), "teacher_steps": 1})
    assert {model for model, _ in records(run(fewer, store, job))} == {"floor", "teacher", "2-rf", "student"}


@pytest.mark.parametrize("caption", ["the digit seven", "a red letter on a white background"])
def test_other_captions_have_no_attribute_accuracy(
    inputs: dict[str, Source], store: Store, tmp_path: Path, caption: str
) -> None:
    told = json.loads((inputs["coco"].folder("coco") / "annotations" / "captions_val2017.json").read_text())
    others = tmp_path / "digits"
    (others / "annotations").mkdir(parents=True)
    (others / "val2017").symlink_to(inputs["coco"].folder("coco") / "val2017")
    told["annotations"] = [{**one, "caption": caption} for one in told["annotations"]]
    (others / "annotations" / "captions_val2017.json").write_text(json.dumps(told))
    job = JOB.model_copy(update={"steps": (1,), "teacher_steps": 1})
    made = run({**inputs, "coco": Folder.open(others, "coco")}, store, job)
    assert {record["attribute_accuracy"] for record in metrics(made)["records"]} == {None}
    assert all(record["clip_score"] is not None for record in metrics(made)["records"])


def test_further_distances_are_of_the_same_pass(
    inputs: dict[str, Source], store: LocalStore, evaluation: Artifact, tmp_path: Path
) -> None:
    networks.dinov2(tmp_path / "dinov2")
    networks.clip(tmp_path / "clip.pt")
    told = {
        "extras": ("kid", "precision_recall", "dinov2", "cmmd"),
        "dinov2_weights": str(tmp_path / "dinov2"),
        "cmmd_clip": Clip(architecture="ViT-S-32-alt", weights=str(tmp_path / "clip.pt")),
    }
    found = run(inputs, store, JOB.model_copy(update=told))
    for key, record in records(found).items():
        assert all(record[name] is not None for name in EXTRAS), key
        assert all(0 <= record[name] <= 1 for name in ("precision", "recall"))
        assert record["kid_interval"] is None and record["frechet_distance_dinov2_interval"] > 0
        usual = records(evaluation)[key]
        same = [name for name in NUMBERS if name not in EXTRAS and "_per_" not in name]
        assert {name: record[name] for name in same} == {name: usual[name] for name in same}
    assert [*metrics(found)["protocol"]["extras"]] == ["kid", "precision_recall", "dinov2", "cmmd"]
    shard = load_file(found.fetch("2-rf-1.00000.safetensors"))
    assert shard["dinov2"].shape == (4, 32) and shard["cmmd"].dtype == torch.float32


def test_a_whole_split_is_the_real_set(inputs: dict[str, Source], store: LocalStore, evaluation: Artifact) -> None:
    split = run(inputs, store, JOB.model_copy(update={"real": "split", "extras": ("kid",)}))
    assert str(metrics(split)["protocol"]["reference_coco"]).startswith("all 12 pictures of captions_val2017.json; ")
    for key, record in records(split).items():
        usual = records(evaluation)[key]
        assert record["frechet_distance"] == usual["frechet_distance"] and record["kid"] is not None
        assert record["frechet_distance_coco"] != usual["frechet_distance_coco"]


def test_a_second_evaluation_of_other_models_finds_the_real_pictures_seen(
    inputs: dict[str, Source], flow: Folder, store: LocalStore
) -> None:
    told = {"steps": (1,), "teacher_steps": 1, "teacher_solver": "euler", "pictures": Pictures(size=32)}
    first = run({role: inputs[role] for role in ("coco", "judge", "teacher")}, store, JOB.model_copy(update=told))
    second = run({**inputs, "teacher": flow}, store, JOB.model_copy(update={**told, "seed": 3}))
    assert len(store.folders("evaluate")) == 2 and len(store.folders("real")) == 1
    assert records(first)["teacher", 1]["clip_score"] != records(second)["teacher", 1]["clip_score"]


def test_guidance_is_swept_at_every_number_of_steps(inputs: dict[str, Source], store: Store) -> None:
    job = JOB.model_copy(update={"guidances": (1.0, 2.0), "reference": "none"})
    fewer = {role: inputs[role] for role in ("coco", "judge", "teacher", "rectified")}
    made = run(fewer, store, job)
    found = metrics(made)["records"]
    assert [(one["model"], one["steps"], one["guidance"]) for one in found] == [
        ("teacher", 2, 2.0), ("teacher", 2, 1.0), ("teacher", 1, 2.0), ("teacher", 1, 1.0),
        ("2-rf", 2, 1.5), ("2-rf", 1, 1.5),
    ]  # fmt: skip
    own, other = found[:2]
    assert own["straightness"] is not None and other["straightness"] is None, "it is that of its own guidance"
    assert own["distance_to_teacher"] is None and other["distance_to_teacher"] > 0, "others are compared with it"
    assert own["clip_score"] != other["clip_score"]
    assert {"teacher-2-g2", "teacher-2-g1", "2-rf-2"} <= {*load_file(made.fetch("contact.safetensors"))}


def test_pictures_that_were_drawn_elsewhere_have_the_numbers_of_those_drawn_here(
    inputs: dict[str, Source], evaluation: Artifact, store: Store, tmp_path: Path
) -> None:
    """The 2-RF's own pictures, saved and read again: what asks for no model is the same, the rest is null."""
    (tmp_path / "drawn").mkdir()
    for number, picture in enumerate(load_file(evaluation.fetch("contact.safetensors"))["2-rf-2"]):
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(tmp_path / "drawn" / f"{number}.png")
    role = RECTIFIED.model_copy(update={"name": "drawn", "input": "pictures", "own_teacher": None, "sampling": "drawn"})
    job = JOB.model_copy(update={"roles": (role,), "reference": "none", "pictures": Pictures(size=32)})
    drawn = Folder.open(tmp_path / "drawn", "pictures")
    made = run({"coco": inputs["coco"], "judge": inputs["judge"], "pictures": drawn}, store, job)
    (record,), same = metrics(made)["records"], records(evaluation)["2-rf", 2]
    told = {name for name in NUMBERS if record[name] is not None}
    assert told == {"frechet_distance_coco", "clip_score", "attribute_accuracy"}
    assert {name: record[name] for name in told} == pytest.approx({name: same[name] for name in told}, rel=1e-5)
    assert (record["steps"], record["guidance"], record["solver"], record["num_images"]) == (None, None, None, 4)
    protocol = metrics(made)["protocol"]
    assert protocol["pictures"] == "drawn elsewhere, 0.png to 3.png (png)"
    assert protocol["measured"] == {"drawn": drawn.digest} and protocol["seeds"] is None
    sharded = job.model_copy(update={"shard_size": 3})
    again = metrics(run({"coco": inputs["coco"], "judge": inputs["judge"], "pictures": drawn}, store, sharded))
    assert {name: again["records"][0][name] for name in told} == pytest.approx({name: record[name] for name in told})


def test_missing_weights_are_named(inputs: dict[str, Source], store: Store, tmp_path: Path) -> None:
    clip = Clip(architecture="ViT-B-32", weights=str(tmp_path / "none.pt"))
    with pytest.raises(UserError, match=r"clip\.weights: .*none\.pt: no such file"):
        run(inputs, store, JOB.model_copy(update={"clip": clip}))


def test_all_pictures_are_judged_at_the_protocols_size(
    inputs: dict[str, Source], store: LocalStore, evaluation: Artifact
) -> None:
    """A teacher of 32 pixels at 20: real and generated ones are resized, and the numbers are others."""
    resized = run(inputs, store, JOB.model_copy(update={"pictures": Pictures(size=20, filter="bilinear")}))
    told, usual = metrics(resized)["protocol"], metrics(evaluation)["protocol"]
    assert (told["size"], told["generated"]) == (20, "32 px; PIL bilinear, antialiased, 20 px")
    assert usual["generated"] == "32 px; PIL lanczos, antialiased, 32 px"
    assert load_file(resized.fetch("contact.safetensors"))["teacher-2"].shape[2:] == (20, 20)
    for name in ("frechet_distance_coco", "clip_score"):
        assert records(resized)["teacher", 2][name] != records(evaluation)["teacher", 2][name]


def test_models_of_another_size_are_measured_by_the_small_judges(
    coco: Artifact, large_flow: Folder, clip: Folder, store: LocalStore
) -> None:
    roles = dict.fromkeys(("teacher", "rectified", "student"), large_flow)
    job = JOB.model_copy(update={"steps": (1,), "teacher_steps": 1, "teacher_solver": "euler"})
    measured = run({"coco": coco, "judge": clip, **roles}, store, job)
    assert metrics(measured)["protocol"]["size"] == 64
    for record in records(measured).values():
        assert record["clip_score"] is not None and record["attribute_accuracy"] is not None
