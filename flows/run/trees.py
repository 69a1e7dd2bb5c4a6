"""What a folder that lies ready is, told by what lies in it: a model, a caption set, a CLIP, pictures, weights."""

from __future__ import annotations

from pathlib import Path

from infra.errors import UserError
from tasks.data.coco import read_all_captions
from tasks.data.drawn import files_in
from tasks.preflight import model_faults

EXPECTED = (
    "a model (model_index.json), a caption set (annotations/captions_*.json), a CLIP (NAME-clip.json beside"
    " open_clip_model.safetensors), pictures, or weights"
)
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth")


def tree_of(folder: Path) -> str:
    """One of "model", "coco", "clip", "pictures", "weights". Raises UserError for anything else or what is amiss."""
    if not folder.exists():
        raise UserError(f"{folder}: no such folder. Check the path; it starts at {Path.cwd()}.")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; expected the folder of {EXPECTED}.")
    if (folder / "model_index.json").is_file():
        if faults := [*model_faults(folder, "model")]:
            raise UserError(faults[0])
        return "model"
    if captions := sorted(folder.glob("annotations/captions_*.json*")):
        for file in captions:
            read_all_captions(file)
        return "coco"
    if (folder / "open_clip_model.safetensors").is_file() and len([*folder.glob("*-clip.json")]) == 1:
        return "clip"
    if files_in(folder):
        return "pictures"
    if any(path.suffix in _WEIGHTS for path in folder.iterdir()):
        return "weights"
    raise UserError(f"{folder}: cannot tell what this is; expected {EXPECTED}.")
