"""Which captions an evaluation takes and which pictures are its real ones: told by the caption file alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from infra.errors import UserError
from tasks.data.coco import Caption, read_captions, read_file_names
from tasks.evaluate.cells import captions_needed, too_few_captions
from tasks.sections import Judging


def captions_of(config: Judging, annotations: Path) -> list[Caption]:
    """Every caption of the file, one a picture. Raises UserError when they are too few."""
    captions = read_captions(annotations)
    if fault := too_few_captions(config, len(captions), str(annotations)):
        raise UserError(f"evaluate.{fault}")
    return captions


def real_names(config: Judging, annotations: Path, captions: Sequence[Caption]) -> list[str]:
    """The files of the real pictures: those of the captions in their order, then of a whole split all others."""
    own = [caption.file_name for caption in captions]
    if config.real == "captions":
        return own[: captions_needed(config)]
    captioned = {*own}
    return own + [name for name in read_file_names(annotations) if name not in captioned]
