"""Opening the networks that judge, as the protocol names them."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

from infra.artifact import Source
from infra.errors import UserError
from models import clip as clips
from models.clip import Clip
from models.judges.dinov2 import DinoV2
from models.judges.inception import Inception
from models.judges.pixels import Features
from models.mini.reader import load_reader
from tasks import sections
from tasks.evaluate.statistics import Judges
from tasks.sections import Judging


def load_judges(config: Judging, inputs: Mapping[str, Source], miniature: bool) -> Judges:
    """The networks of a protocol; one that judges in two ways is loaded once.

    ``miniature`` says whether captions tell of the miniature world. Raises UserError for weights that are not there
    or another network's.
    """
    if config.needs_mini_clip and "judge" not in inputs:
        raise UserError("evaluate: no input judge, the small CLIP that the recipe's judges ask for; give its folder")
    mini = inputs["judge"].folder("clip") if "judge" in inputs else None
    try:
        return _load(config, mini, miniature)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"evaluate: {error}") from error


def _load(config: Judging, mini: Path | None, miniature: bool) -> Judges:
    @functools.cache
    def load(architecture: str, weights: str | None, tag: str | None) -> Clip:
        return clips.load_clip(str(mini) if architecture == "mini" else architecture, weights, tag)

    def clip(told: sections.Clip) -> Clip:
        return load(told.architecture, told.weights and str(Path(told.weights).expanduser()), told.tag)

    features: dict[str, Features] = {}
    if config.features == "inception":
        features["features"] = Inception(Path(config.inception_weights or "").expanduser(), config.inception_resize)
    else:
        features["features"] = load("mini", None, None).image_features
    if "dinov2" in config.extras:
        features["dinov2"] = DinoV2(Path(config.dinov2_weights or "").expanduser())
    if "cmmd" in config.extras and config.cmmd_clip:
        features["cmmd"] = clip(config.cmmd_clip).image_features
    reader = load_reader(mini) if mini and miniature else None
    return Judges(clip(config.clip), config.clip.prompt_prefix, features, reader)
