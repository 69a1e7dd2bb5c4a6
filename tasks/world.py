"""Stage `world`: render the miniature caption set in the MS COCO layout."""

import time
from collections.abc import Mapping

from infra.artifact import Draft, Source
from infra.recipe import Performance, World
from models.mini.world import write_split
from tasks.progress import Progress, part
from tasks.stage import StageResult


def make_world(
    config: World, inputs: Mapping[str, Source], out: Draft, perf: Performance, progress: Progress, /
) -> StageResult:
    """Commit the tree ``coco``: held-out pictures in ``val2017`` and, if asked for, ``train2017``."""
    counts = {"val2017": config.val_images, "train2017": config.train_images}
    if "coco" not in out.units():
        started, folder, total = time.monotonic(), out.workdir / "coco", sum(counts.values())
        before = 0
        progress(0, total, "images")
        for split, count in counts.items():
            if count:
                split_progress = part(progress, before, total)
                write_split(folder, split, count, config.captions_per_image, config.seed, split_progress)
            before += count
        out.commit_unit("coco", {"coco": folder}, rows=total, seconds=time.monotonic() - started)
    return StageResult(metrics=dict(counts), seeds={"world": config.seed})
