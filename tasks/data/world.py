"""Stage `world`: render the miniature caption set in the MS COCO layout."""

import time
from pathlib import Path

from models.mini.world import write_split
from tasks.order import derive_seed
from tasks.sections import World
from tasks.stage import StageResult, StageWork, Units
from tasks.stages import Group


class RenderWorld(StageWork[World]):
    """Commits the tree ``coco``: held-out pictures in ``val2017`` and, if asked for, ``train2017``."""

    def make(self, group: Group) -> None:
        """Render both splits."""
        started, folder, config = time.monotonic(), self.out.workdir / "coco", self.config
        seed = derive_seed(config.seed, "world")
        for split, count in _counts(config).items():
            if count:
                write_split(folder, split, count, config.captions_per_image, seed, self.work.advance)
        self.out.commit_unit(
            "coco", {"coco": folder}, rows=config.train_images + config.val_images, seconds=time.monotonic() - started
        )

    def finish(self, units: Units) -> StageResult:
        """The number of pictures of each split."""
        return StageResult(metrics=dict(_counts(self.config)), seeds={"world": self.config.seed})


def is_miniature(annotations: Path) -> bool:
    """Whether a caption file is the miniature world's, whose attributes can be read: its scenes lie beside it."""
    scenes = annotations.name.replace("captions_", "scenes_")
    return scenes != annotations.name and annotations.with_name(scenes).is_file()


def _counts(config: World) -> dict[str, int]:
    return {"val2017": config.val_images, "train2017": config.train_images}
