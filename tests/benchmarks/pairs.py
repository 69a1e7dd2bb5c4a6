"""Pair generation against the bare teacher forwards in it: what noise, solver, checks, tar and commit cost.

Each U-Net call of the stage is followed by a bare one of the same shape: whatever else the machine does in the
meantime slows both alike. Runs of seconds in turns gave ratios from .65 to 1.42 beside another program.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from flows.recipes import load_recipe
from flows.run.sources import EMBEDDED, given
from infra.artifact import Artifact, Draft, Source
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, open_store
from models.mini.captions import caption
from models.mini.scene import draw_scene, generator
from models.pipelines.text_to_image import TextToImage
from tasks.data import pairs
from tasks.data.load import load_model
from tasks.progress import silent
from tasks.sections import PairsJob, Performance
from tasks.stage import run_stage
from tasks.stages import STAGES
from tests.benchmarks.row import Options, Row, not_measured, spread

ROUNDS = 3
RATIO, MOST_RATIO = "pair generation / bare teacher forwards", 1.10
REST, MOST_REST_MS = "pair generation beside the teacher, ms per sample", 1.0


def measure(options: Options) -> list[Row]:
    """Run the stage `pairs` and, call by call, the forwards it contains; the median of the rounds counts."""
    if not EMBEDDED.get(("model", options.teacher), Path()).is_dir():
        remedy = "the embedded teacher is not there: run `make mini` first, or name one with --teacher"
        return [
            not_measured(RATIO, f"at most {MOST_RATIO:g}", remedy),
            not_measured(REST, f"below {MOST_REST_MS:g}", remedy),
        ]
    source = given("model", options.teacher)
    model, (job, perf) = load_model(source), job_of_mini()
    ratios, rests = [], []
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder, _loaded(model), _bare(model) as bare:
        store = open_store(Path(folder))
        inputs: dict[str, Source] = {"teacher": source, "prompts": prompts_for(store, options.samples)}
        warm_up = job.model_copy(update={"seed": ROUNDS, "steps": 2})
        _pairs(store, warm_up, perf, inputs)  # the first calls are slower
        for number in range(ROUNDS):
            bare.clear()
            wall_s, teacher_s = _pairs(store, job.model_copy(update={"seed": number}), perf, inputs)
            ratios.append((wall_s - sum(bare)) / sum(bare))
            rests.append(1000 * (wall_s - teacher_s) / options.samples)
    return _rows(options, job, perf, ratios, rests)


def job_of_mini() -> tuple[PairsJob, Performance]:
    """The pairs of the miniature recipe, with a limit that lets an untrained teacher's latents pass."""
    recipe = load_recipe("mini")
    job = PairsJob.of(recipe.pairs, "reflow", recipe.prompts, recipe.teacher.dtype)
    return job.model_copy(update={"max_abs_latent": 1e6}), recipe.performance


def _rows(options: Options, job: PairsJob, perf: Performance, ratios: list[float], rests: list[float]) -> list[Row]:
    ratio, rest = statistics.median(ratios), statistics.median(rests)
    how = (
        f"call by call in turns, median of {ROUNDS} (range), {options.samples} samples, {job.solver} {job.steps} steps,"
        f" guidance {job.guidance:g}, batch {perf.sample_batch_size}"
    )
    return [
        Row(RATIO, spread(ratios), f"at most {MOST_RATIO:g}", ratio <= MOST_RATIO, how),
        Row(
            REST,
            spread(rests),
            f"below {MOST_REST_MS:g}",
            rest < MOST_REST_MS,
            "all but solving: noise and tokens, checks, tar, index, sha256, commit with fsync",
        ),
    ]


@contextmanager
def _loaded(model: TextToImage) -> Iterator[None]:
    """The stage finds the model open: it is read once per run, however many pairs there are."""
    with mock.patch.object(pairs, "load_model", return_value=model):
        yield


def prompts_for(store: Store, count: int) -> Artifact:
    rngs = [generator(0, index) for index in range(count)]
    texts = [caption(draw_scene(rng, held_out=False), rng) for rng in rngs]
    with Draft(store, "prompts", fingerprint("prompts", 1, {"count": count}, {})) as draft:
        path = draft.workdir / "prompts.parquet"
        pq.write_table(pa.table({"index": range(count), "part": ["reflow"] * count, "prompt": texts}), path)
        draft.commit_unit("prompts", {path.name: path}, rows=count)
        return draft.finish(["prompts"], 1, {}, {}, {}, {}, utc_now())


def _pairs(store: Store, job: PairsJob, perf: Performance, inputs: dict[str, Source]) -> tuple[float, float]:
    """Wall time of the whole stage and the time its solver took, s."""
    started = time.perf_counter()
    metrics = run_stage(STAGES["pairs"], job, inputs, store, perf, silent).manifest.metrics
    wall_s = time.perf_counter() - started
    if metrics["quarantined"]:
        raise UserError(f"pairs: {metrics['quarantined']} samples are quarantined; give a sound --teacher")
    return wall_s, float(str(metrics["teacher_s"]))


@contextmanager
def _bare(model: TextToImage) -> Iterator[list[float]]:
    """Do each U-Net call once more, bare; gives the seconds these took."""
    seconds: list[float] = []

    def again(unet: torch.nn.Module, call: tuple[torch.Tensor, ...], text: dict[str, torch.Tensor], _: object) -> None:
        x = torch.randn_like(call[0]).contiguous(memory_format=torch.channels_last)
        _wait()
        started = time.perf_counter()
        unet.forward(x, *call[1:], **text)
        _wait()
        seconds.append(time.perf_counter() - started)

    hook = model.denoiser.register_forward_hook(again, with_kwargs=True)
    try:
        yield seconds
    finally:
        hook.remove()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
