"""The whole chain on the real stages, in a process that tests kill or stop.

Imported before the fork (`torch` and `diffusers` take eight seconds); whatever computes or talks to a store is done by
`attempt` in the forked process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported, which `tasks` does

import torch
from tqdm import tqdm

from flows.recipes import chain_of, load_recipe
from flows.run import sources
from infra.artifact import MANIFEST, Artifact, Source, base_of, checkpoint, draft, killpoint
from infra.artifact.redo import redo_all, standing
from infra.recipe import Section
from infra.store import open_store
from infra.upkeep.verify import damages
from tasks.progress import silent
from tasks.stage import find_cached, run_stage, stage_fingerprint
from tasks.stages import STAGES, stage_of

for _module in ("infra.store.remote", *(stage.work.partition(":")[0] for stage in STAGES.values())):
    importlib.import_module(_module)  # they are imported late otherwise

tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a killed process leaves behind

STEPS = 8
"""Training steps; a checkpoint every second one, so that two have to be swept."""

RECIPE = load_recipe(
    "tiny",
    [
        "world={train_images: 12, val_images: 8, captions_per_image: 2}",
        f"train_teacher={{autoencoder_steps: {STEPS}, autoencoder_batch_size: 2, steps: {STEPS}, batch_size: 2,"
        " warmup_steps: 2, checkpoint_every_steps: 2}",
        f"train_clip={{steps: {STEPS}, batch_size: 2, reader_steps: {STEPS}, reader_batch_size: 2,"
        " checkpoint_every_steps: 2}",
        "prompts={reflow_count: 8, distill_count: 8}",
        "pairs={steps: 2, guidance: 3.0, shard_size: 4, max_abs_latent: 1.0e+9}",  # the teacher is hardly trained
        "student_pairs={steps: 2, shard_size: 4, max_abs_latent: 1.0e+9}",
        f"reflow={{phases: [{{steps: {STEPS}, batch_size: 2}}], warmup_steps: 2, checkpoint_every_steps: 2}}",
        *(
            f"{stage}={{phases: [{{loss: l2, steps: {STEPS}, batch_size: 2}},"
            f" {{loss: perceptual, steps: {STEPS}, batch_size: 2}}], warmup_steps: 2, checkpoint_every_steps: 2}}"
            for stage in ("distill", "direct")
        ),
        "evaluate={num_images: 4, shard_size: 2, steps: [1], teacher_steps: 2, straightness_images: 2}",
        "report={columns: 2, trajectories: 1}",
        "performance={sample_batch_size: 4, throughput_batch_sizes: [1]}",
    ],
)


@dataclass(frozen=True)
class Attempt:
    """One run of the chain up to the stage `until`. Points are `stage id:step:item`; `folder` takes what it tells.

    `reopen` names a stage whose manifest is looked at and taken away first, so that it is finished once more; `force`
    one that is made again even if it is cached.
    """

    store: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    kill_at: frozenset[str] = frozenset()
    stop_at: frozenset[str] = frozenset()
    until: str = "report"
    reopen: str = ""
    force: str = ""


@dataclass
class Told:
    """What an attempt that came to its end says: digest by stage id, and every damaged file it found."""

    digests: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)


class Enough(Exception):
    """The last stage asked for is done."""


class Doing:
    """A `Do` that runs each stage in this process and says where it is."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt, self.store, self.told = attempt, open_store(attempt.store), Told()
        self.made: list[Artifact] = []
        self.stage_id = ""
        self._points = os.open(attempt.folder / "points", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def given(self, tree: str, path: str) -> Source:
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source:
        taken = {role: source for role, source in inputs.items() if source is not None}
        self._enter(stage_id)
        if stage_id == self.attempt.force:
            redo_all(self.store, self._base(stage_id, config, taken))
        else:
            self._require_sound(stage_id, config, taken)
        made = run_stage(stage_of(stage_id), config, taken, self.store, RECIPE.performance, silent)
        self.made.append(made)
        self.told.digests[stage_id] = made.digest
        if stage_id == self.attempt.until:
            raise Enough
        return made

    def reached(self, *point: str) -> None:
        """Note the point, then do what the real one does."""
        os.write(self._points, f"{':'.join([self.stage_id, *point[1:]])}\n".encode())
        killpoint.reached(*point)

    def _enter(self, stage_id: str) -> None:
        self.stage_id, name = stage_id, stage_of(stage_id).name
        for variable, points in (
            ("INSTAFLOW_KILL_AT", self.attempt.kill_at),
            ("INSTAFLOW_STOP_AT", self.attempt.stop_at),
        ):
            mine = [point.partition(":") for point in sorted(points)]
            os.environ[variable] = ",".join(f"{name}:{rest}" for owner, _, rest in mine if owner == stage_id)

    def _base(self, stage_id: str, config: Section, inputs: Mapping[str, Source]) -> str:
        stage = stage_of(stage_id)
        return base_of(stage.name, stage_fingerprint(stage, config, inputs))

    def _require_sound(self, stage_id: str, config: Section, inputs: Mapping[str, Source]) -> None:
        """Whatever has a manifest is whole, whatever was killed when."""
        stage = stage_of(stage_id)
        found = find_cached(stage, config, inputs, self.store)
        if found is None:
            base = self._base(stage_id, config, inputs)
            is_asked_for = bool(standing(self.store, base))
            assert is_asked_for or not self.store.exists(f"{base}/{MANIFEST}"), f"{base}: a manifest, and not whole"
            assert stage_id != self.attempt.reopen
        elif stage_id == self.attempt.reopen:
            assert not [*damages(found)], found.base
            self.store.delete(f"{found.base}/{MANIFEST}")

    def verify(self) -> None:
        """Read every byte again: of all artifacts, or of the one that the run was to end with."""
        for made in self.made if self.attempt.until == "report" else self.made[-1:]:
            self.told.damaged += [f"{made.base}/{damage.path} {damage.problem}" for damage in damages(made)]


def attempt(asked: Attempt) -> None:
    """Run the chain in this process, which was forked for it, and write `told.json`; what goes wrong is in `log`."""
    (asked.folder / "tmp").mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(asked.folder / "tmp")
    log = os.open(asked.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(asked.environment)
    torch.set_num_threads(1)
    gc.freeze()  # a collection would copy the memory of every module that was imported before the fork
    try:
        _run(Doing(asked))
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)  # no goodbyes: the threads of the forked process are its own business


def _run(doing: Doing) -> None:
    draft.reached = checkpoint.reached = doing.reached  # type: ignore[attr-defined]
    try:
        chain_of(RECIPE).replay(doing)
    except Enough:
        pass
    doing.verify()
    (doing.attempt.folder / "told.json").write_text(json.dumps(asdict(doing.told)))
