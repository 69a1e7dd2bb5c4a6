"""MS COCO captions: the official schema, one caption per picture, nothing guessed."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from infra.errors import UserError

SCHEMA = "images: [{id, file_name}] and annotations: [{id, image_id, caption}]"
GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Caption:
    """A picture's file name and one of its captions."""

    image_id: int
    file_name: str
    text: str


def read_captions(path: Path) -> list[Caption]:
    """One caption per picture, in the order of the picture ids: of those with words, that of the lowest annotation id.

    A picture without annotations is left out. Raises UserError as `read_all_captions` does, and for a picture whose
    captions are all blank: it would be drawn from the empty prompt.
    """
    content = _Content.read(path)
    first: dict[int, Caption] = {}
    for caption in content.captions():
        if caption.text or caption.image_id not in first:
            held = first.get(caption.image_id)
            first[caption.image_id] = held if held and held.text else caption
    blank = next((caption for caption in first.values() if not caption.text), None)
    if blank:
        raise UserError(
            f"{path}: annotations: every caption of image {blank.image_id} ({blank.file_name}) is blank; expected one "
            "with words. Write one, or remove the picture and its annotations."
        )
    return [first[image_id] for image_id in sorted(first)]


def read_all_captions(path: Path) -> list[Caption]:
    """Every caption with words, in the order of the annotation ids.

    The file may be gzipped and may begin with a byte order mark. Raises UserError for a missing or broken file, for
    what the schema lacks, for ids and file names that stand twice, for captions that are no text or of no picture, and
    for file names that lead out of the folder of pictures.
    """
    return [caption for caption in _Content.read(path).captions() if caption.text]


def read_file_names(path: Path) -> list[str]:
    """The pictures of the file, with and without captions, in the order of their ids.

    Raises UserError as `read_all_captions` does.
    """
    names = _Content.read(path).names
    return [names[image_id] for image_id in sorted(names)]


@dataclass(frozen=True)
class _Content:
    """A caption file: its pictures' names by id, and its annotations in the order of their ids."""

    path: Path
    names: Mapping[int, str]
    annotations: list[tuple[int, int, str]]
    """(annotation id, picture id, caption)"""

    @classmethod
    def read(cls, path: Path) -> _Content:
        content = _load(path)
        if not isinstance(content, dict):
            raise UserError(f"{path}: not the COCO captions schema: {_shown(content)}; expected {SCHEMA}")
        names = _names(path, _entries(path, content, "images"))
        annotations = sorted(_annotations(path, _entries(path, content, "annotations"), names))
        for (one, *_), (other, *_) in zip(annotations, annotations[1:], strict=False):
            if one == other:
                raise UserError(f"{path}: annotations: id {one} stands twice; expected each once. Remove one of them.")
        return cls(path, names, annotations)

    def captions(self) -> Iterator[Caption]:
        """All captions without the white space around them, blank ones included."""
        for _, image_id, text in self.annotations:
            yield Caption(image_id, self.names[image_id], text.strip())


def _load(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return json.loads((gzip.decompress(data) if data.startswith(GZIP) else data).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: no such file; expected COCO captions (recipe: coco.path, coco.annotations)"
        ) from error
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"{path}: broken gzip: {error}; expected a whole file. Fetch or pack it again.") from error
    except OSError as error:  # a folder, no permission
        raise UserError(f"{path}: {error.strerror}; expected a file of COCO captions (coco.annotations)") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: broken JSON: {error}; expected the COCO captions schema in UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{path}: broken JSON: nested too deeply; expected the COCO captions schema") from error


def _entries(path: Path, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    entries = content.get(name)
    if not isinstance(entries, list):
        raise UserError(f"{path}: {name}: {_shown(entries)}; not the COCO captions schema, expected {SCHEMA}")
    if not entries:
        raise UserError(f"{path}: {name}: holds no captions; expected at least one entry in images and annotations")
    wrong = next((number for number, entry in enumerate(entries) if not isinstance(entry, dict)), None)
    if wrong is not None:
        raise UserError(f"{path}: {name}[{wrong}]: {_shown(entries[wrong])}; expected {SCHEMA}")
    return entries


def _names(path: Path, images: list[dict[str, Any]]) -> dict[int, str]:
    """File names by picture id."""
    names: dict[int, str] = {}
    ids: dict[str, int] = {}
    for number, image in enumerate(images):
        at = f"{path}: images[{number}]"
        image_id, name = _integer(at, image, "id"), _file_name(at, image)
        if image_id in names:
            raise UserError(
                f"{at}.id: {image_id} is also the id of {names[image_id]}; expected each id once, or captions are "
                "paired with another picture. Remove or renumber one of them."
            )
        if name in ids:
            raise UserError(
                f"{at}.file_name: {name} is also that of image {ids[name]}; expected each picture once, or it is "
                "counted twice. Remove one of the entries and its annotations."
            )
        names[image_id], ids[name] = name, image_id
    return names


def _annotations(
    path: Path, annotations: list[dict[str, Any]], names: Mapping[int, str]
) -> Iterator[tuple[int, int, str]]:
    for number, annotation in enumerate(annotations):
        at = f"{path}: annotations[{number}]"
        image_id = _integer(at, annotation, "image_id")
        if image_id not in names:
            raise UserError(
                f"{at}.image_id: {image_id} is no picture of the file; expected the id of an entry in images. "
                "Add the entry or remove the caption."
            )
        yield _integer(at, annotation, "id"), image_id, _text(at, annotation, "caption")


def _file_name(at: str, image: dict[str, Any]) -> str:
    """The picture's path within the folder of pictures: what lies elsewhere would be in no digest."""
    name = _text(at, image, "file_name")
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    leads_out = posix.is_absolute() or windows.drive or windows.root or ".." in {*posix.parts, *windows.parts}
    if leads_out or not posix.name or "\0" in name:
        raise UserError(
            f"{at}.file_name: {name!r} is no file within the folder of pictures; expected a name such as "
            "000000000139.jpg. Put the picture into the folder (recipe: coco.images) and name it so."
        )
    return str(posix)


def _integer(at: str, entry: dict[str, Any], field: str) -> int:
    value = entry.get(field)
    if type(value) is not int:
        raise UserError(f"{at}.{field}: {_found(entry, field)}; expected a whole number. The schema: {SCHEMA}.")
    return value


def _text(at: str, entry: dict[str, Any], field: str) -> str:
    value = entry.get(field)
    if not isinstance(value, str):
        raise UserError(f"{at}.{field}: {_found(entry, field)}; expected text in quotes. The schema: {SCHEMA}.")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"{at}.{field}: {value!r} holds half a character; expected Unicode text.") from error
    return value


def _found(entry: dict[str, Any], field: str) -> str:
    return _shown(entry[field]) if field in entry else "missing"


def _shown(value: object) -> str:
    """A value as JSON has it, cut short."""
    text = json.dumps(value) if not isinstance(value, list | dict) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
