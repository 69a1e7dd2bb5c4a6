"""A folder of pictures that were drawn elsewhere, each with the caption that it was drawn from.

Light: names alone are read (docs/evaluation.md tells what they have to be).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from infra.errors import UserError

SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")


def files_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name; none where it is no folder."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def paired(folder: Path, names: Sequence[str]) -> list[Path]:
    """The picture drawn from each caption; `names` are the file names of the captions' own pictures.

    A picture has the name of the caption's own, whatever the suffix, or its number among the captions, from 0 or from
    1. Raises UserError where neither tells: in any other order pictures would be scored by captions of others.
    """
    files = _by_stem(folder)
    stems = [PurePosixPath(name).stem for name in names]
    if len({*stems}) == len(stems) and files.keys() >= {*stems}:
        return [files[stem] for stem in stems]
    numbered = _numbered(files)
    if len(numbered) >= len(names):
        return numbered[: len(names)]
    absent = next((name for name, stem in zip(names, stems, strict=True) if stem not in files), names[0])
    raise UserError(
        f"{folder}: which caption each of its {len(files)} pictures was drawn from cannot be told: there is none for"
        f" {absent}, and they are not numbered. Name them as the captions' own pictures ({names[0]}, ...), or by the"
        f" place of the caption in the order of the picture ids: 0.png to {len(names) - 1}.png."
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in files_in(folder):
        if path.stem in found:
            raise UserError(f"{folder}: {found[path.stem].name} and {path.name} are of one caption. Leave one there.")
        found[path.stem] = path
    return found


def _numbered(files: Mapping[str, Path]) -> list[Path]:
    """In the order of their numbers; none where they are not numbered from 0 or 1 without a gap, after one prefix."""
    told = [re.fullmatch(r"(.*?)([0-9]+)", stem, re.DOTALL) for stem in files]
    matches = [match for match in told if match]
    if len({match[1] for match in matches}) != 1 or len(matches) != len(files):
        return []
    by_number = {int(match[2]): files[match[0]] for match in matches}
    first = min(by_number)
    gapless = [*sorted(by_number)] == [*range(first, first + len(files))]
    return [by_number[number] for number in sorted(by_number)] if gapless and first in (0, 1) else []
