"""What is in a store: every artifact, found by a short name, with what it was made from and who wants it kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

from pydantic import Field, ValidationError

from infra.artifact import Artifact, ArtifactMissing
from infra.artifact.manifest import BASE, Base, InputRecord, Record
from infra.artifact.names import is_name
from infra.environment import utc_now
from infra.errors import UserError
from infra.store import Store, StoreError
from infra.upkeep.runs import Begun, Ref

_R = TypeVar("_R", bound=Record)
_FOLDER = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Entry:
    """One folder of the store that is an artifact or is becoming one.

    `artifact` is None where there is no manifest yet; `problem` says what is wrong with one that does not parse.
    """

    base: str
    artifact: Artifact | None
    problem: str | None = None


class Pin(Record):
    """The record `pins/<stage>/<fingerprint>.json`: somebody wants this kept."""

    artifact: Base = Field(description="stage/fingerprint")
    note: str = Field(default="", description="why")
    since: str = Field(description="ISO 8601, UTC")


def entries(store: Store) -> Iterator[Entry]:
    """Every artifact and every unfinished one, by stage and fingerprint. Raises StoreError.

    What is not named like an artifact (16 hex digits below a folder) is none of ours, and is passed over.
    """
    for stage in store.folders():
        for name in store.folders(stage):
            if _FOLDER.fullmatch(name) and (entry := _entry(store, stage, name)):
                yield entry


def _entry(store: Store, stage: str, name: str) -> Entry | None:
    base = f"{stage}/{name}"
    try:
        return Entry(base, Artifact.open(store, stage, name))
    except ArtifactMissing:
        return Entry(base, None) if store.list(base) else None  # a sweep leaves empty folders on a local disk
    except StoreError:
        raise
    except UserError as error:
        return Entry(base, None, str(error))


def find(store: Store, ref: str) -> Artifact:
    """The artifact that `ref` names: stage/fingerprint, the fingerprint alone, first digits of either, a name, a URI.

    Raises UserError when none or several answer to it.
    """
    if "/" in ref.strip("/") or is_name(ref):
        return Artifact.find(store, ref)
    found = [base for base in _bases(store) if base.partition("/")[2].startswith(ref)] if ref else []
    if len(found) == 1:
        return Artifact.find(store, found[0])
    if found:
        raise UserError(f"artifact {ref}: several answer to it: {', '.join(found)}. Give more digits or the stage.")
    raise ArtifactMissing(
        f"artifact {ref}: nothing of that name in {store.url}; expected stage/fingerprint or the fingerprint's first"
        " digits. See: instaflow artifacts ls."
    )


def _bases(store: Store) -> Iterator[str]:
    for stage in store.folders():
        yield from (f"{stage}/{name}" for name in store.folders(stage) if _FOLDER.fullmatch(name))


def inputs_of(artifact: Artifact) -> list[tuple[InputRecord, Artifact | None]]:
    """What the artifact was made from; None for what is no artifact of the same store (any more)."""
    return [(record, _input(artifact.store, record)) for record in artifact.manifest.inputs]


def _input(store: Store, record: InputRecord) -> Artifact | None:
    base = base_in(record.uri)
    if base is None:
        return None
    try:
        return Artifact.open(store, *base.split("/"))
    except ArtifactMissing:
        return None


def base_in(uri: str) -> str | None:
    """The stage/fingerprint that an input's URI ends with; None for a plain folder."""
    base = "/".join(uri.rstrip("/").split("/")[-2:])
    return base if BASE.fullmatch(base) else None


def pin(store: Store, artifact: Artifact, note: str = "") -> None:
    """Keep the artifact and all it was made from, whatever the recipes do. Raises StoreError."""
    record = Pin(artifact=artifact.base, note=note, since=utc_now())
    store.write(f"pins/{artifact.base}.json", record.to_bytes())


def unpin(store: Store, artifact: Artifact) -> bool:
    """Take the pin away; whether there was one. Raises StoreError."""
    path = f"pins/{artifact.base}.json"
    had = store.exists(path)
    store.delete(path)
    return had


def pinned(store: Store) -> dict[str, Pin]:
    """Pins by stage/fingerprint. Raises UserError for one that does not parse, StoreError."""
    return {record.artifact: record for record in read_strictly(store, "pins", Pin).values()}


def wanted_by(store: Store) -> dict[str, list[str]]:
    """By stage/fingerprint: the recipes whose last run, of all or on some inputs, made, used or began it.

    Raises UserError for a reference that does not parse.
    """
    refs = [(path, one.artifact) for path, one in read_strictly(store, "refs", Ref).items()]
    records = read_strictly(store, "begun", Begun).items()
    begun = [(path, base) for path, one in records for base in (one.artifact, *one.inputs)]
    found: dict[str, list[str]] = {}
    for path, base in [*refs, *begun]:
        recipe = path.split("/")[1]
        names = found.setdefault(base, [])
        names += [recipe] if recipe not in names else []
    return found


def read_strictly(
    store: Store, folder: str, kind: type[_R], remedy: str = "Run its recipe again or delete the file."
) -> dict[str, _R]:
    """The records of a folder by path. Raises UserError with the remedy for one that does not parse, StoreError."""
    # not as in infra/upkeep/runs.py: to pass a damaged one over here would be to delete what it keeps
    found: dict[str, _R] = {}
    for path, data in store.read_many(store.list(folder)).items():
        try:
            found[path] = kind.model_validate_json(data)
        except ValidationError as error:
            raise UserError(f"{store.url}/{path}: does not parse, so what it keeps is unknown. {remedy}") from error
    return found
