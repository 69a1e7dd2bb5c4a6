"""Putting a site where it is to lie: only files whose bytes changed, and away with those that nothing links to.

A list of what was written, `site.json`, says which files are the site's and which bytes each has. It is written first,
without the hashes of the files about to change, and last, with all: whenever this is killed, the next time mends it.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from infra.errors import UserError
from infra.store import Store
from infra.store.at_once import at_once

LIST = "site.json"
_Hashes: TypeAlias = dict[str, str | None]
_HASHES = TypeAdapter(_Hashes)
_SIGN = "instaflow dashboard"


@dataclass(frozen=True)
class Written:
    """What became of a site's files."""

    files: int
    changed: int
    removed: int


def whole_files(out: Store) -> frozenset[str]:
    """Files of a site that are there as they were written. Raises UserError for what is no site, StoreError."""
    there = out.sizes()
    return frozenset(path for path, sha256 in _listed(out, there).items() if sha256 and path in there)


def write_site(out: Store, files: Mapping[str, bytes | None]) -> Written:
    """Have the site consist of these files, None for one of `whole_files` that stays as it is.

    A page is there before any that links to it: `files` has those first that others link to. Raises UserError for a
    place that holds something else, StoreError.
    """
    there = out.sizes()
    before = _listed(out, there)
    new = {path: data for path, data in files.items() if data is not None}
    hashes = {path: before[path] for path, data in files.items() if data is None}
    hashes |= {path: hashlib.sha256(data).hexdigest() for path, data in new.items()}
    changed = [path for path, data in new.items() if before.get(path) != hashes[path] or there.get(path) != len(data)]
    gone = [path for path in before if path not in files and path in there]
    if changed or gone or before.keys() != files.keys():
        _write_list(out, {**before, **hashes, **dict.fromkeys([*changed, *gone])})
        deque(at_once(lambda path: out.write(path, new[path]), changed), maxlen=0)
        out.delete_many(gone)
        _write_list(out, {**hashes})
    return Written(len(files), len(changed), len(gone))


def _listed(out: Store, there: Mapping[str, int]) -> _Hashes:
    if LIST not in there:
        if there:
            first = next(iter(there))
            raise UserError(
                f"{out.url}: holds {first}, and no site of ours. Name a folder of its own, for instance"
                f" {out.url.rstrip('/')}/site."
            )
        return {}
    try:
        told = json.loads(out.read(LIST))
        if not isinstance(told, dict) or told.get("made_by") != _SIGN:
            raise ValueError("it is another's")
        return _HASHES.validate_python(told.get("files"))
    except (ValueError, ValidationError) as error:
        raise UserError(
            f"{out.url}/{LIST}: is not the list of a site of ours. Name another folder, or empty this one."
        ) from error


def _write_list(out: Store, hashes: _Hashes) -> None:
    told = {"made_by": _SIGN, "files": hashes}
    out.write(LIST, json.dumps(told, indent=0).encode())
