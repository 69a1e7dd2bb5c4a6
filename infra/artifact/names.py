"""Names that people give artifacts: `names/<name>.json` says what a name stands for, and what it stood for before."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, ValidationError

from infra.artifact.manifest import NAME, Base, Record, Sha256
from infra.errors import UserError
from infra.store import Store

NAMES = "names"
_DIGITS = re.compile(r"[0-9a-f]+")


class Naming(Record):
    """What a name stands for from some moment on."""

    artifact: Base = Field(description="stage/fingerprint")
    digest: Sha256 = Field(description="manifest digest it had then")
    since: str = Field(description="ISO 8601, UTC")
    by: str | None = Field(default=None, description="who gave it: the account's name")
    note: str = Field(default="", description="why")


class NameRecord(Record):
    """The record `names/<name>.json`: a reference that people move."""

    history: list[Naming] = Field(min_length=1, description="oldest first; the last is what the name stands for")

    @property
    def now(self) -> Naming:
        """What the name stands for."""
        return self.history[-1]


def is_name(text: str) -> bool:
    """Whether an artifact may be called so: nothing that could be the digits of a fingerprint."""
    return bool(NAME.fullmatch(text)) and not _DIGITS.fullmatch(text)


def name_path(name: str) -> str:
    """The file of a name, in its store."""
    return f"{NAMES}/{name}.json"


def read_name(store: Store, name: str) -> NameRecord | None:
    """What is known of a name; None where there is no such name. Raises UserError for a damaged record, StoreError."""
    if not is_name(name):
        return None
    try:
        return NameRecord.model_validate_json(store.read(name_path(name)))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(
            f"{store.url}/{name_path(name)}: does not parse, so what {name} stands for is unknown. Delete the file and"
            " name the artifact again."
        ) from error


def is_named_here(path: Path) -> bool:
    """Whether a path of this machine is STORE/names/NAME."""
    return path.parent.name == NAMES and path.with_name(f"{path.name}.json").is_file()
