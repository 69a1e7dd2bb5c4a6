"""What a run leaves behind for the report, without running it: plausible numbers and rendered pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import JsonValue
from safetensors.numpy import save_file

from infra.artifact import Artifact, Draft, Folder, Source
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.store import Store
from models.mini.captions import caption
from models.mini.render import render
from models.mini.scene import draw_scene, generator

NASTY = '<script>alert("x")</script> & a "red" ring\'s <b>shadow</b>'
STEPS = (25, 8, 4, 2, 1)
COLUMNS = 12
EVALUATE: dict[str, JsonValue] = {"num_images": 1000, "steps": list(STEPS), "seed": 1000}
"""What the evaluation was told."""

FRECHET = {
    "teacher": (2.5, 2.9, 8.2, 53.1, 953.0), "2-rf": (2.6, 2.6, 2.8, 3.1, 4.5),
    "student": (3.2,), "direct": (3.4,),
}  # fmt: skip
CLIP_SCORE = {
    "teacher": (0.812, 0.811, 0.795, 0.701, 0.312), "2-rf": (0.809, 0.809, 0.807, 0.803, 0.788),
    "student": (0.801,), "direct": (0.793,),
}  # fmt: skip
ACCURACY = {
    "teacher": (0.975, 0.974, 0.951, 0.802, 0.334), "2-rf": (0.971, 0.971, 0.969, 0.962, 0.941),
    "student": (0.958,), "direct": (0.952,),
}  # fmt: skip

INTERVALS = {"attribute_accuracy": 0.01}
"""Half the width of an interval, as a share of its number."""


def commit(
    store: Store,
    stage_id: str,
    blobs: Mapping[str, Path],
    *,
    config: Mapping[str, JsonValue] | None = None,
    inputs: Mapping[str, Source] | None = None,
    rows: int = 0,
) -> Artifact:
    """An artifact of one unit, through the real protocol."""
    stage = stage_id.partition("-")[0]
    digests = {role: source.digest for role, source in (inputs or {}).items()}
    with Draft(store, stage, fingerprint(stage, 1, {"id": stage_id, **(config or {})}, digests)) as draft:
        draft.commit_unit("all", blobs, rows=rows, seconds=12.5)
        return draft.finish(["all"], 1, config or {}, inputs or {}, {}, {stage: 7}, utc_now())


def run(
    store: Store, folder: Path, prompts: list[str] | None = None, load: dict[str, JsonValue] | None = None
) -> dict[str, Source]:
    """The inputs of the report as the algorithm passes them: an artifact per stage, a given teacher."""
    teacher = Folder.open(_file(folder / "teacher" / "model_index.json", "{}").parent, "model")
    sampled = commit(store, "prompts", {"prompts.parquet": _prompts(folder, prompts or [])}, rows=20000)

    def pairs(stage_id: str, teacher: Source, rows: int) -> Artifact:
        shard = {"shard-000000.tar": _file(folder / f"{stage_id}.tar", stage_id)}
        inputs = {"teacher": teacher, "prompts": sampled}
        return commit(store, stage_id, shard, config={"steps": 25}, inputs=inputs, rows=rows)

    def train(stage_id: str, level: float, lengths: dict[str, int], inputs: dict[str, Source]) -> Artifact:
        curve = {"curve.parquet": _curve(folder / f"{stage_id}.parquet", lengths, level)}
        phases: list[JsonValue] = [{"loss": loss, "steps": steps} for loss, steps in lengths.items()]
        one_loss: list[JsonValue] = [{"steps": steps} for steps in lengths.values()]  # a reflow's is said beside them
        config: dict[str, JsonValue] = {"phases": phases} if len(lengths) > 1 else {"loss": "l2", "phases": one_loss}
        return commit(store, stage_id, curve, config=config, inputs=inputs)

    first = pairs("pairs-1", teacher, 12000)
    rectified = train("reflow-1", 0.4, {"l2": 4000}, {"teacher": teacher, "pairs": first})
    second = pairs("pairs-student", rectified, 8000)
    phases = {"l2": 3000, "perceptual": 600}
    student = train("distill", 0.06, phases, {"teacher": rectified, "pairs": second})
    direct = train("direct", 0.16, phases, {"teacher": teacher, "pairs": first})
    models = {"teacher": teacher, "rectified": rectified, "student": student, "direct": direct}
    measured = evaluation(store, folder, prompts or [], models, load)
    made = {
        "pairs-1": first,
        "reflow-1": rectified,
        "pairs-student": second,
        "distill": student,
        "direct": direct,
    }
    return {"evaluate": measured, "teacher": teacher, "prompts": sampled, **made}


def _prompts(folder: Path, texts: list[str]) -> Path:
    """A sample that begins with these texts."""
    texts = [*texts, *(f"a prompt, number {n}" for n in range(40))]
    columns = {"prompt": texts, "source_row": range(len(texts))}
    table = pa.table({"part": ["reflow"] * len(texts), "source_file": ["laion/00017.parquet"] * len(texts), **columns})
    pq.write_table(table, folder / "prompts.parquet")
    return folder / "prompts.parquet"


def evaluation(
    store: Store,
    folder: Path,
    prompts: list[str],
    inputs: Mapping[str, Source],
    load: dict[str, JsonValue] | None = None,
) -> Artifact:
    """An artifact of the stage evaluate; `prompts` take the place of the first captions."""
    pictures, captions = _contact()
    captions[: len(prompts)] = prompts
    save_file(pictures, folder / "contact.safetensors")
    save_file({"teacher": _paths(0.35), "2-rf": _paths(0.02)}, folder / "paths.safetensors")
    protocol = {
        "captions": {"file": "captions_val2017.json", "sha256": "5f" * 32, "rule": "lowest annotation id"},
        "num_images": 1000, "features": "mini", "safety_checker": "off",
        "clip": {"architecture": "mini", "prompt_prefix": "", "scale": "cosine x 1"},
        "machine": "x86_64, 2 threads, no GPU", "load": load,
    }  # fmt: skip
    metrics = {"schema_version": 2, "protocol": protocol, "records": records()}
    contents = {"metrics.json": metrics, "contact.json": {"prompts": captions}}
    for name, content in contents.items():
        _file(folder / name, json.dumps(content))
    names = (*contents, "contact.safetensors", "paths.safetensors")
    return commit(store, "evaluate", {name: folder / name for name in names}, config=EVALUATE, inputs=inputs)


def steps_of(model: str) -> tuple[int, ...]:
    """The numbers of steps a model is measured at."""
    return STEPS if len(FRECHET[model]) > 1 else (1,)


def records() -> list[dict[str, JsonValue]]:
    """The table: the floor, then every model at its steps."""
    cells = [(model, steps, i) for model in FRECHET for i, steps in enumerate(steps_of(model))]
    return [_record("floor", 25, 0), *(_record(*cell) for cell in cells)]


def _record(model: str, steps: int, index: int) -> dict[str, JsonValue]:
    known = "teacher" if model == "floor" else model
    straight = {"teacher": 0.42, "2-rf": 0.015}.get(model) if steps == 25 else None
    own = {"2-rf": 0.09 + 0.05 / steps, "teacher": 0.9 / steps, "student": 0.052, "direct": 0.097}.get(model)
    own = own if (model, steps) != ("teacher", 25) else None
    first = {"student": 0.12}.get(model, own)
    numbers: dict[str, float | None] = {
        "frechet_distance": FRECHET[known][index], "frechet_distance_coco": FRECHET[known][index] + 1.3,
        "clip_score": CLIP_SCORE[known][index], "attribute_accuracy": ACCURACY[known][index],
        "straightness": straight,
        "distance_to_own_teacher": own, "median_distance_to_own_teacher": own and own / 3,
        "distance_to_teacher": first, "median_distance_to_teacher": first and first / 3,
        "seconds_per_image": None if model == "floor" else 0.0021 + 0.0017 * steps,
        "images_per_second": None if model == "floor" else 900 / steps,
    }  # fmt: skip
    intervals = {f"{name}_interval": value and INTERVALS.get(name, 0.02) * value for name, value in numbers.items()}
    return {
        "model": model, "steps": steps, "guidance": {"teacher": 5.0, "2-rf": 1.5}.get(known, 1.0),
        "solver": "dpmsolver++" if known == "teacher" else "euler", "num_images": 1000, **numbers, **intervals,
    }  # fmt: skip


def _contact() -> tuple[dict[str, NDArray[np.uint8]], list[str]]:
    """Rendered scenes, noisier the greater a model's distance; and their captions."""
    random = np.random.default_rng(0)
    scenes = [draw_scene(generator(3, i), held_out=True) for i in range(COLUMNS)]
    sharp = np.stack([render(scene) for scene in scenes]).transpose(0, 3, 1, 2).astype(np.float64)
    found = {}
    for model, distances in FRECHET.items():
        for steps, distance in zip(steps_of(model), distances, strict=True):
            noise = 5 * math.log(distance) ** 1.4 * random.standard_normal(sharp.shape)
            found[f"{model}-{steps}"] = np.clip(sharp + noise, 0, 255).astype(np.uint8)
    return found, [caption(scene, generator(4, i)) for i, scene in enumerate(scenes)]


def _paths(bend: float) -> NDArray[np.float32]:
    """Four paths [4, 26, 4, 8, 8] of arcs over their chords, the bulge reaching `bend` chords."""
    random = np.random.default_rng(1)
    noise, latent, aside = random.standard_normal((3, 4, 1, 4, 8, 8))
    t = np.linspace(0, 1, 26).reshape(1, 26, 1, 1, 1)
    wobble = 0.01 * np.cumsum(random.standard_normal((4, 26, 4, 8, 8)), axis=1) * t * (1 - t)
    speed = t + bend * 0.8 * np.sin(np.pi * t) ** 2 * (t - 0.5)
    bulge = 1.6 * bend * np.sin(np.pi * t**0.8) * (1 + random.uniform(-0.4, 0.4, (4, 1, 1, 1, 1)))
    path: NDArray[np.float64] = noise + speed * (latent - noise) + bulge * aside + wobble
    return path.astype(np.float32)


def _curve(path: Path, phases: Mapping[str, int], level: float) -> Path:
    """Losses that fall to `level`, and to less in later phases."""
    random, rows, before = np.random.default_rng(2), [], 0
    for phase, steps in enumerate(phases.values()):
        for step in range(1, steps + 1, 5):
            fall, noise = 1 + 4 * math.exp(-step / 300), math.exp(0.15 * random.standard_normal())
            loss = level * fall * noise * 0.3**phase
            numbers = {"loss": loss, "gradient_norm": 3 * loss**0.5, "learning_rate": 1e-4}
            rows.append({"phase": phase, "step": before + step, **numbers})
        before += steps
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def _file(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
