"""A small store of everything a dashboard may meet, made with the project's own writers."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from flows.observed.known import Known, look
from infra.artifact import Artifact, Draft, Source
from infra.artifact.fingerprint import fingerprint
from infra.artifact.redo import redo_units
from infra.shards.shards import QuarantineRow
from infra.store import Store, open_store
from infra.upkeep.inventory import pin
from infra.upkeep.naming import give_name
from infra.upkeep.runs import Ref, RunRecord, StageRun, write_begun, write_ref, write_run
from infra.upkeep.verify import VERIFIED, mark
from tasks.stages import CURVE_FILE, GLANCE_FILE, GLANCES_FILE
from tests.infra import small_pairs
from tests.tasks import small_run
from tests.tasks.small_run import NASTY


@dataclass(frozen=True)
class Small:
    """The store, what is in it by a name, and what an onlooker knows of it."""

    store: Store
    made: Mapping[str, Artifact]
    known: Known


NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
DAMAGED = "pairs/0123456789abcdef"
CALLED = "mini-v2"
LONG = "a-name-without-an-end-" * 12
"""A name that no line has room for."""
ENVIRONMENT = {"host": "node-1", "python": "3.11.7", "torch": "2.13"}


def make_small(folder: Path) -> Small:
    """The small store, in a folder."""
    store = open_store(folder / "store")
    made = fill(store, folder / "made")
    return Small(store, made, look(store, NOW))


def fill(store: Store, folder: Path) -> dict[str, Artifact]:
    """Two chains, eight runs of five recipes, and all kinds of damage; the artifacts of both by a name."""
    inputs = small_run.run(store, folder, [NASTY])
    first = {name: one for name, one in inputs.items() if isinstance(one, Artifact)}
    second = {**first, **_again(store, folder, first)}
    _runs(store, first, second)
    for stage_id, artifact in second.items():
        write_ref(store, "mini", stage_id, _ref(artifact))
    (shard,) = small_pairs.shards([12])
    bad = [QuarantineRow(number, f"{number:09d}", f"{NASTY} {LONG}", number, "constant") for number in range(3)]
    drawn = small_pairs.commit(store, [[replace(one, prompt=f"{NASTY} {LONG}") for one in shard]], bad)
    unfinished = _unfinished(store, folder)
    write_begun(store, "killed", "pairs-1", unfinished, [first["prompts"].base])
    pin(store, first["distill"], f"the best so far {NASTY}")
    give_name(first["distill"], CALLED)
    give_name(second["distill"], CALLED, move=True, note=f"better {NASTY}")
    give_name(first["reflow-1"], LONG[:80])
    store.write("names/torn.json", b"{}")
    redo_units(store, first["pairs-1"].base, ["all"], "data/shard-000000.tar is damaged")
    mark(first["reflow-1"], [], {})
    store.write(f"{first['direct'].base}/{VERIFIED}", b"torn")
    store.write(f"{DAMAGED}/manifest.json", b'{"schema_version": 1, "stage": "<script>"')
    store.write("runs/2026-11-22T050000-torn.json", b'{"run_id": "2026')
    store.write("refs/mini/torn.json", b"[]")
    return {**first, "drawn": drawn, **{f"{name} again": one for name, one in second.items()}}


def _again(store: Store, folder: Path, first: Mapping[str, Artifact]) -> dict[str, Artifact]:
    """A student that was trained with another seed, and its evaluation with better numbers."""
    blobs = {"curve.parquet": first["distill"].fetch("curve.parquet")}
    inputs = {"teacher": first["reflow-1"], "pairs": first["pairs-student"]}
    config = {**first["distill"].manifest.config, "seed": 1, "note": NASTY}
    student = small_run.commit(store, "distill", blobs, config=config, inputs=inputs)
    metrics = json.loads(first["evaluate"].fetch("metrics.json").read_text())
    for record in metrics["records"]:
        if record["model"] == "student":
            record["frechet_distance"] /= 2
    (folder / "metrics.json").write_text(json.dumps(metrics))
    files = {name: first["evaluate"].fetch(name) for name in ("contact.json", "contact.safetensors")}
    models: dict[str, Source] = {
        "rectified": first["reflow-1"],
        "student": student,
        "direct": first["direct"],
    }
    evaluation = small_run.commit(
        store, "evaluate", {"metrics.json": folder / "metrics.json", **files}, config=small_run.EVALUATE, inputs=models
    )
    return {"distill": student, "evaluate": evaluation}


def _runs(store: Store, first: Mapping[str, Artifact], second: Mapping[str, Artifact]) -> None:
    done = {"state": "done", "exit": 0}
    write_run(store, record("2026-11-22T010000-aaaaaa", "mini", stages(first, "done"), hours=5, **done))
    cached = stages(second, "cached", made=("distill", "evaluate"))
    write_run(store, record("2026-11-22T020000-bbbbbb", "mini", cached, hours=4, **done))
    failed = [StageRun(stage="pairs-1", artifact="pairs/00000000000000aa", state="failed", error=NASTY)]
    write_run(
        store, record("2026-11-22T030000-cccccc", "tiny", failed, hours=3, state="failed", exit=2, error=NASTY * 100)
    )
    lost = [StageRun(stage="pairs-1", artifact=UNFINISHED, state="running", unit="pairs", units=4, seconds=60)]
    write_run(store, record("2026-11-22T040000-dddddd", "killed", lost, hours=2, state="running"))
    sent = [StageRun(stage="pairs-1", artifact="pairs/00000000000000bb", state="running", seconds=60)]
    write_run(store, record("2026-11-22T055000-eeeeee", "mini", sent, hours=0, state="running"))
    half = StageRun(
        stage="pairs-1", artifact="pairs/00000000000000bb", state="running", seconds=60, unit="pairs", units=6000,
        samples_per_second=100.0, device="Accelerator X", device_seconds=60,
    )  # fmt: skip
    part = record("2026-11-22T055001-ffffff", "mini", [half], hours=0, state="running")
    write_run(store, part.model_copy(update={"part_of": "2026-11-22T055000-eeeeee"}))
    _hostile_runs(store)


def _hostile_runs(store: Store) -> None:
    """What people, machines and folders may be called at worst."""
    names = {"user": f"{NASTY}{LONG}", "environment": {**ENVIRONMENT, "host": LONG, "platform": NASTY}}
    told = {"teacher": f"/models/{LONG}{NASTY}", "overrides": [f"teacher.path={LONG}", f"note={NASTY}"]}
    stage = StageRun(
        stage=LONG, artifact="pairs/00000000000000cc", state="cancelled", error=LONG, reason=NASTY, device=LONG
    )
    for end, recipe in (("gggggg", LONG), ("hhhhhh", "sd15")):
        run_id = f"2026-11-22T000000-{LONG[:90]}{end}"
        run = record(run_id, recipe, [stage], hours=6, state="cancelled", exit="SIGTERM")
        write_run(store, run.model_copy(update=names | told))


def record(run_id: str, recipe: str, stages: list[StageRun], *, hours: int, **told: object) -> RunRecord:
    """The record of a run that began so many hours and ten minutes ago, and took ten."""
    began, sign = (NOW - timedelta(hours=hours, minutes=minutes) for minutes in (10, 0))
    fields = {"run_id": run_id, "recipe": recipe, "started_at": began.isoformat(), "stages": stages, **told}
    ended = {} if told.get("state") == "running" else {"finished_at": sign.isoformat()}
    who = {"user": "somebody", "environment": ENVIRONMENT, "pid": 1, "heartbeat_at": sign.isoformat()}
    return RunRecord.model_validate(fields | ended | who)


def stages(artifacts: Mapping[str, Artifact], state: str, made: tuple[str, ...] = ()) -> list[StageRun]:
    """A stage for each artifact, in a state; those made now are done."""

    def stage(stage_id: str, artifact: Artifact, state: str) -> StageRun:
        inputs = [one.uri.removeprefix(f"{artifact.store.url}/") for one in artifact.manifest.inputs]
        found = StageRun(stage=stage_id, artifact=artifact.base, state=state, inputs=inputs)
        measured = {"seconds": 12.5, "device_seconds": 25.0, "unit": "pairs", "units": 12000, "device": "Accelerator X"}
        return found if state == "cached" else found.model_copy(update=measured)

    return [stage(name, artifact, "done" if name in made else state) for name, artifact in artifacts.items()]


_PRINT = fingerprint("pairs", 1, {"steps": 3}, {})
UNFINISHED = f"pairs/{_PRINT[:16]}"


def _unfinished(store: Store, folder: Path) -> str:
    with Draft(store, "pairs", _PRINT) as draft:
        for number in range(2):
            (folder / "shard").write_text(f"shard {number}")
            draft.commit_unit(f"shard-{number:06d}", {f"shard-{number:06d}.tar": folder / "shard"}, rows=2)
    return UNFINISHED


def _ref(artifact: Artifact) -> Ref:
    inputs = {one.role: one.digest for one in artifact.manifest.inputs}
    return Ref(artifact=artifact.base, digest=artifact.digest, config=artifact.manifest.config, inputs=inputs)


IN_TRAINING = "reflow/00000000000000aa"


def train(store: Store, folder: str) -> None:
    """A reflow that is under way, and shows itself beside checkpoints in this folder of it."""
    store.write(f"{folder}/{CURVE_FILE}", table_bytes(step=[25, 50, 75], loss=[0.9, 0.5, 0.25]))
    store.write(f"{folder}/{GLANCES_FILE}", table_bytes(step=[30, 60], distance_to_own_teacher=[0.4, 0.125]))
    store.write(f"{folder}/{GLANCE_FILE}", glance())
    stage = StageRun(stage="reflow-1", artifact=IN_TRAINING, state="running", unit="steps", units=75, seconds=60)
    write_run(store, record("2026-11-22T055000-aaaaaa", "mini", [stage], hours=0, state="running"))


def table_bytes(**columns: list[float]) -> bytes:
    """A Parquet file."""
    pq.write_table(pa.table(columns), sink := pa.BufferOutputStream())
    return sink.getvalue().to_pybytes()


def glance() -> bytes:
    """As wide as eight pairs."""
    Image.new("RGB", (1052, 261), (200, 30, 30)).save(buffer := io.BytesIO(), "WEBP")
    return buffer.getvalue()
