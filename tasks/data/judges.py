"""Whether the judges that a recipe names can be had: by name and file header, without torch, before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.errors import UserError
from models.judges.clip_names import check_architecture, check_tag
from models.judges.weights import check_weights, tensor_names
from tasks.sections import Evaluate, Perceptual


def check_judges(config: Evaluate, field: str = "evaluate") -> None:
    """Look for the CLIP and the Inception of an evaluation.

    Raises UserError that names the recipe's field for an architecture or a tag that open_clip does not know, and for a
    weights file that is missing, broken or another network's.
    """
    if config.clip.architecture != "mini":
        with _named(f"{field}.clip.architecture"):
            check_architecture(config.clip.architecture)
        with _named(f"{field}.clip.tag"):
            check_tag(config.clip.architecture, config.clip.tag)
        with _named(f"{field}.clip.weights"):
            tensor_names(Path(config.clip.weights or ""))
    if config.features == "inception":
        with _named(f"{field}.inception_weights"):
            check_weights(Path(config.inception_weights or ""), "inception")


def check_perceptual(config: Perceptual, field: str = "distill.perceptual") -> None:
    """Look for the trunk of a perceptual distance, if a file is named. Raises UserError as `check_judges` does."""
    if config.kind == "lpips" and config.trunk_weights is not None:
        with _named(f"{field}.trunk_weights"):
            check_weights(Path(config.trunk_weights), config.network)


@contextmanager
def _named(field: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError) as error:
        raise UserError(f"{field}: {error}") from error
