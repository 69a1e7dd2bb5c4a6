"""Training checkpoints: safetensors under a content-hash name, then a small record; the last two are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue, ValidationError

from infra.artifact import Draft
from infra.artifact.fingerprint import canonical_json, sha256_file
from infra.artifact.killpoint import reached
from infra.artifact.manifest import NAME, Record, Sha256
from infra.artifact.tensor_file import TensorFile, kinds, write
from infra.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

KEEP = 2
_FILE = rf"^checkpoints/{NAME.pattern}/step-[0-9]{{8,}}-[0-9a-f]{{12}}\.safetensors$"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """The state after `step` steps. `layout` says what it fits: recipe, data digest, world size.

    `phase` names the training within its stage; each phase keeps its own checkpoints.
    """

    step: int
    tensors: Mapping[str, Tensor]
    layout: Mapping[str, JsonValue] = field(default_factory=dict)
    phase: str = "train"


class _Record(Record):
    step: int = Field(description="training steps done")
    file: str = Field(pattern=_FILE, description="relative to the folder of its generation")
    sha256: Sha256 = Field(description="of the file")
    bytes: int = Field(description="size of the file")
    layout: dict[str, JsonValue] = Field(description="what the checkpoint fits")


def save(draft: Draft, checkpoint: Checkpoint) -> None:
    """Commit a checkpoint (blob, then record), then drop all but the last two. Raises StoreError."""
    local = draft.workdir / f"step-{checkpoint.step:08d}.safetensors"
    sha256 = write(local, checkpoint.tensors)
    record = _Record(
        step=checkpoint.step,
        file=f"{_folder(checkpoint.phase)}/{local.stem}-{sha256[:12]}.safetensors",
        sha256=sha256,
        bytes=local.stat().st_size,
        layout=dict(checkpoint.layout),
    )
    reached(draft.stage, "checkpoint-blob", checkpoint.phase)
    draft.store.upload(local, f"{draft.place}/{record.file}")
    reached(draft.stage, "checkpoint-record", checkpoint.phase)
    draft.store.write(f"{draft.place}/{_folder(checkpoint.phase)}/{local.stem}.json", record.to_bytes())
    reached(draft.stage, "checkpoint-done", checkpoint.phase)
    local.unlink()
    _sweep(draft, checkpoint.phase)


def latest(
    draft: Draft,
    layout: Mapping[str, JsonValue],
    phase: str = "train",
    network: Mapping[str, Tensor] | None = None,
) -> Checkpoint | None:
    """The newest whole checkpoint of a phase, None if there is none; a damaged one is passed over, warning.

    Its tensors are read from the local disk as they are asked for. Raises UserError with the two values when its layout
    is another than `layout`, or when those of its tensors that begin with the same word as one of `network` are not
    the same by name, shape and dtype; StoreError.
    """
    for path in sorted(_record_paths(draft, phase), reverse=True):
        where, record = f"{draft.store.url}/{path}", _read_record(draft, path)
        if record is not None:
            _require_layout(where, record.layout, layout)
        tensors = _read_tensors(draft, record) if record else None
        if record is None or tensors is None:
            _log.warning("%s: the checkpoint is damaged, trying the one before", where)
            continue
        _require_network(where, tensors, network or {})
        return Checkpoint(record.step, tensors, record.layout, phase)
    return None


def _folder(phase: str) -> str:
    return f"checkpoints/{phase}"


def _record_paths(draft: Draft, phase: str) -> list[str]:
    return [path for path in draft.store.list(f"{draft.place}/{_folder(phase)}") if path.endswith(".json")]


def _read_record(draft: Draft, path: str) -> _Record | None:
    try:
        return _Record.model_validate_json(draft.store.read(path))
    except (FileNotFoundError, ValidationError):
        return None


def _read_tensors(draft: Draft, record: _Record) -> TensorFile | None:
    local = draft.workdir / "latest.safetensors"
    try:
        draft.store.download(f"{draft.place}/{record.file}", local)
    except FileNotFoundError:
        return None
    try:
        return TensorFile(local) if sha256_file(local) == record.sha256 else None
    finally:
        local.unlink()


def _require_network(where: str, tensors: TensorFile, network: Mapping[str, Tensor]) -> None:
    parts = {_part(name) for name in network}
    found = {name: kind for name, kind in tensors.kinds.items() if _part(name) in parts}
    _require_layout(where, found, kinds(network))


def _part(name: str) -> str:
    return name.partition(".")[0]


def _require_layout(where: str, found: Mapping[str, JsonValue], expected: Mapping[str, JsonValue]) -> None:
    for name in sorted({*found, *expected}):
        if canonical_json(found.get(name)) != canonical_json(expected.get(name)):
            raise UserError(
                f"{where}: {name}: the checkpoint has {found.get(name)!r}, this run {expected.get(name)!r};"
                " it belongs to another training. Run with the old value, or delete the checkpoints folder to"
                " start the training from its beginning."
            )


def _sweep(draft: Draft, phase: str) -> None:
    """Drop records beyond the last two, each before its file: a file without a record is only an orphan."""
    paths = sorted(_record_paths(draft, phase))
    for path in paths[:-KEEP]:
        draft.store.delete(path)
        reached(draft.stage, "checkpoint-record-deleted", phase)
    kept = {path.removesuffix(".json") for path in paths[-KEEP:]}
    for path in draft.store.list(f"{draft.place}/{_folder(phase)}"):
        if path.endswith(".safetensors") and path.rpartition("-")[0] not in kept:
            draft.store.delete(path)
            reached(draft.stage, "checkpoint-blob-deleted", phase)
