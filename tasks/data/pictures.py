"""Picture files as RGB, upright, eight bits a channel: what each kind becomes, and whether it is there and whole.

Light: a folder of pictures is looked through by their headers before anything is computed (docs/evaluation.md has the
table of formats). Tensors are made in `tasks/data/picture_batches.py`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image, ImageOps

from infra.errors import UserError
from models.parallel import in_order

MOST_PIXELS = 89_478_485
"""A larger picture is refused by its header: Pillow's own limit for what is no attack (a quarter of a gigabyte)."""

WHITE = (255, 255, 255, 255)
"""What stands behind a transparent picture: the page it was made for."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for files that are cut short, damaged or no pictures."""

_UNDEFINED = {"I": "32-bit whole numbers", "F": "floating-point numbers"}
"""Modes without a known range."""

_ENDS = {"PNG": b"IEND", "JPEG": b"\xff\xd9"}
_TAIL_BYTES = 65_536

SHOWN = 3
"""Faults that are told one by one."""


def read_picture(path: Path) -> Image.Image:
    """The picture in mode RGB: turned as its EXIF orientation says, on white where it is transparent, its first frame.

    16 bits become 8 by their high byte; CMYK and others by Pillow's own formula, without colour profiles. Raises
    UserError for a file that is missing, broken, too large, or of values without a known range.
    """
    picture = _opened(path)
    try:
        with picture:
            return _rgb(ImageOps.exif_transpose(picture))
    except _BROKEN as error:
        raise UserError(_broken(path, error)) from error


def _opened(path: Path) -> Image.Image:
    """The picture with only its header read. Raises UserError when it is missing, too large or cannot be used."""
    if not path.is_file():
        raise UserError(
            f"{path}: no such picture; expected the images of the captions file there (recipe: coco.images)"
        )
    try:
        picture = Image.open(path)
    except Image.DecompressionBombError as error:
        raise UserError(_too_large(path, str(error))) from error
    except _BROKEN as error:
        raise UserError(_broken(path, error)) from error
    if picture.width * picture.height > MOST_PIXELS:
        raise UserError(_too_large(path, f"{picture.width} x {picture.height} pixels"))
    if picture.mode in _UNDEFINED:
        raise UserError(
            f"{path}: {_UNDEFINED[picture.mode]} (mode {picture.mode}), whose black and white are not known; "
            "expected 8 or 16 bits. Save it as an 8-bit picture."
        )
    return picture


def _broken(path: Path, error: BaseException) -> str:
    return f"{path}: broken picture: {error}; expected a whole image file (recipe: coco.images). Fetch it again."


def _too_large(path: Path, found: str) -> str:
    return f"{path}: {found}; expected at most {MOST_PIXELS} pixels. Shrink the picture."


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I;16"):
        picture = _high_byte(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture).convert("RGB")
    return picture.convert("RGB")


def _high_byte(picture: Image.Image) -> Image.Image:
    """16-bit grey as 8 bits: the high byte, as Pillow takes it of 16-bit colours; its own conversion would clip."""
    import numpy as np

    values = np.asarray(picture).astype(np.uint16)
    grey, clear = Image.fromarray((values >> 8).astype(np.uint8)), picture.info.get("transparency")
    return (
        grey if clear is None else Image.merge("LA", (grey, Image.fromarray((values != clear).astype(np.uint8) * 255)))
    )


def faults(folder: Path, names: Sequence[str], workers: int | None = None) -> Iterator[str | None]:
    """For each picture of a folder what is wrong with it, None if nothing: its header and its end are read, no pixel.

    On a few threads, in order: the caller may stop at any time.
    """

    def fault(name: str) -> str | None:
        try:
            with _opened(folder / name) as picture:
                _has_end(folder / name, picture.format or "")
        except UserError as error:
            return str(error)
        return None

    yield from in_order(fault, names, workers)


def check_pictures(
    folder: Path, names: Sequence[str], advance: Callable[[int], object] = lambda _: None, workers: int | None = None
) -> None:
    """Look at all pictures of a folder. Raises UserError that names the first faults and how many there are.

    `advance` is told of each picture; what it raises stops the search (of a thread that is no longer wanted).
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; expected the pictures of the captions file (recipe: coco.images)")
    found: list[str] = []
    for fault in faults(folder, names, workers):
        advance(1)
        found += [fault] if fault else []
    if found:
        more = [f"... and {len(found) - SHOWN} more of {len(names)} pictures"] if len(found) > SHOWN else []
        raise UserError("\n".join([*found[:SHOWN], *more]))


def _has_end(path: Path, kind: str) -> None:
    """Raise UserError for a PNG or JPEG without its last mark: it was cut short, which its header does not show."""
    if mark := _ENDS.get(kind):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            found = mark in file.read()
            if not found:  # something long may follow the picture
                file.seek(0)
                found = mark in file.read()
        if not found:
            raise UserError(_broken(path, ValueError(f"cut short, without the mark at the end of a {kind}")))
