"""What is recorded about an artifact: the schema of `manifest.json` and of the unit records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from infra.artifact.fingerprint import SHORT, canonical_json, digest_of_hashes, sha256_bytes
from infra.errors import UserError

Metric: TypeAlias = float | int | str
MARK = r"[0-9]{8}T[0-9]{12}-[0-9a-f]{6}"
"""The pattern of the id of a redo mark: its moment (UTC, microseconds) and six random digits."""

ADDED = "added"
"""Stands for the stage of a folder that was made elsewhere and put into the store as it is: its files are one tree."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What a file or folder of a store may be called after: a stage, a unit, a recipe, a run."""

Name = Annotated[str, Field(pattern=rf"^{NAME.pattern}$")]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

BASE = re.compile(rf"{NAME.pattern}/[0-9a-f]{{{SHORT}}}")
"""The folder of an artifact: stage/fingerprint."""

Base = Annotated[str, Field(pattern=rf"^{BASE.pattern}$")]

BlobPath = Annotated[str, Field(pattern=r"^data/[^./\\\p{Cc}][^/\\\p{Cc}]*(/\.*[^./\\\p{Cc}][^/\\\p{Cc}]*)*$")]
"""A file below an artifact's `data`, whichever way it is joined: no part of the path is `.` or `..`."""

_HASHED = re.compile(r"(.+)-[0-9a-f]{12}(\.[^.]*)?")


class Record(BaseModel):
    """Base of everything written to the store as JSON: frozen, nothing unknown, NaN kept as a string."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    def to_bytes(self) -> bytes:
        """Indented JSON, UTF-8: people read these files too."""
        return self.model_dump_json(indent=2).encode() + b"\n"


class FileRecord(Record):
    """One file of an artifact."""

    path: BlobPath = Field(description="relative to the artifact's folder, POSIX, below `data`")
    sha256: Sha256 = Field(description="of the content, 64 hex digits")
    bytes: int = Field(ge=0, description="size of the file")
    rows: int | None = Field(default=None, description="samples or table rows in it, null where that means nothing")
    volatile: bool = Field(
        default=False, description="holds timings, or shows what others hold: recorded, not part of the digest"
    )

    @property
    def name(self) -> str:
        """The logical name, without `data/` and content hash: `index.parquet`, `model/unet/config.json`."""
        head, *tail = self.path.removeprefix("data/").split("/")
        match = _HASHED.fullmatch(head)
        return "/".join([match[1] + (match[2] or "") if match else head, *tail])


def _each_once(files: list[FileRecord]) -> list[FileRecord]:
    if twice := [name for name, count in Counter(file.name for file in files).items() if count > 1]:
        raise ValueError(f"two files are named {twice[0]}")
    return files


def tree_digest_of(files: Iterable[FileRecord]) -> str:
    """The digest of the folder whose files these are, all of one tree, wherever it lies."""
    return digest_of_hashes({file.name.partition("/")[2]: file.sha256 for file in files})


Blobs = Annotated[list[FileRecord], AfterValidator(_each_once)]


class UnitRecord(Record):
    """One committed unit of work, written after its blobs."""

    unit: Name = Field(description="its id within the stage, for instance shard-000000")
    files: Blobs = Field(description="the blobs it consists of")
    rows: int = Field(default=0, description="samples it contributes to the artifact")
    seconds: float = Field(default=0.0, description="time the unit took, s")
    metrics: dict[str, Metric] = Field(default_factory=dict, description="numbers about it")
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="what made it: host, device, versions, git commit; empty in records of older versions",
    )

    @classmethod
    def from_bytes(cls, data: bytes, unit: str) -> UnitRecord:
        """Parse the record of `unit`; raises ValueError for what is none, or is another's."""
        found = cls.model_validate_json(data)
        if found.unit != unit:
            raise ValueError(f"found the record of unit {found.unit}, expected {unit}'s")
        return found


class Part(Record):
    """What one unit is of a finished artifact: its record, with its files by path."""

    unit: Name = Field(description="its id within the stage")
    files: list[BlobPath] = Field(description="paths of its files")
    rows: int = Field(description="samples it contributes")
    seconds: float = Field(description="time the unit took, s")
    metrics: dict[str, Metric] = Field(description="numbers about it")
    environment: int | None = Field(
        default=None, ge=0, description="what made it: a place in `environments`; null where that is not known"
    )


class InputRecord(Record):
    """One input of a stage, pinned by digest."""

    role: Name = Field(description="the name the stage gives it: teacher, pairs, ...")
    uri: str = Field(description="where it was read from; not part of any identity")
    digest: Sha256 = Field(description="manifest digest of an artifact, tree digest of a folder")


class Manifest(Record):
    """The record that makes an artifact exist: readers trust nothing else."""

    schema_version: Literal[1] = Field(default=1, description="of this schema")
    stage: Name = Field(description="name of the stage that made it")
    version: int = Field(description="version of that stage, bumped by hand when its output changes")
    fingerprint: Sha256 = Field(description="identity of the output, 64 hex digits")
    config: dict[str, JsonValue] = Field(description="the stage's recipe section with defaults filled in")
    inputs: list[InputRecord] = Field(description="what it was made from")
    files: Blobs = Field(description="every file of the artifact, sorted by path")
    units: list[Part] = Field(
        default_factory=list, description="what it was put together from; empty in manifests of older versions"
    )
    redone: list[Annotated[str, Field(pattern=rf"^{MARK}$")]] = Field(
        default_factory=list, description="ids of the redo marks it answers, oldest first"
    )
    rows: int = Field(description="samples in it: the sum over its units")
    metrics: dict[str, JsonValue] = Field(description="what the stage measured")
    seeds: dict[str, int] = Field(description="seeds used, by purpose")
    environment: dict[str, str] = Field(
        description="what finished it: versions, host, device, git commit: recorded, never hashed"
    )
    environments: list[dict[str, str]] = Field(
        default_factory=list, description="what made its units, each once; they say by `environment` which it was"
    )
    started_at: str = Field(description="ISO 8601, UTC: start of the attempt that finished it")
    finished_at: str = Field(description="ISO 8601, UTC")
    seconds: float = Field(
        description="work, s: the units' sum over all attempts, at least the last attempt's wall time"
    )

    @model_validator(mode="after")
    def _knows_what_made_it(self) -> Manifest:
        for part in self.units:
            if part.environment is not None and part.environment >= len(self.environments):
                raise ValueError(f"unit {part.unit}: there is no environment {part.environment}")
        return self

    @property
    def generation(self) -> str:
        """The newest of the redo marks it answers; empty, and before all others, for the first making."""
        return max(self.redone, default="")

    @property
    def digest(self) -> str:
        """sha256 of what was made: the same for an undisturbed and for a killed and resumed run.

        It is of the content alone: what is made from it stays cached when the same comes out of another configuration,
        of another input or version. A folder that was added has the digest that it has where it lies.
        """
        if self.stage == ADDED:
            return tree_digest_of(self.files)
        lasting = [file for file in self.files if not file.volatile]
        identity = {
            "stage": self.stage,
            "files": sorted([file.path, file.sha256, file.bytes, file.rows] for file in lasting),
            "rows": self.rows,
        }
        return sha256_bytes(canonical_json(identity))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Manifest:
        """Parse a `manifest.json`; raises UserError naming `where` and the first field that does not fit."""
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the whole file"
            found = f", found {first['input']!r}" if first["type"] == "string_pattern_mismatch" else ""
            raise UserError(
                f"{where}: {field}: {first['msg']}{found}. This is no manifest of schema version 1; if the file"
                " was damaged, delete it and run the stage again: what is committed is kept."
            ) from error
