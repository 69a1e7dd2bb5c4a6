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
    file: str = Field(pattern=_FILE, description="relative to the artifact's folder")
    sha256: Sha256 = Field(description="of the file")
    bytes: int = Field(description="size of the file")
    layout: dict[str, JsonValue] = Field(description="what the checkpoint fits")


def save(draft: Draft, checkpoint: Checkpoint) -> None:
    """Commit a checkpoint (blob, then record), then drop all but the last two. Raises StoreError."""
    from safetensors.torch import save_file

    local = draft.workdir / f"step-{checkpoint.step:08d}.safetensors"
    # safetensors refuses tensors that share memory (tied weights, an EMA fresh from its source)
    save_file(
        {name: tensor.detach().cpu().clone().contiguous() for name, tensor in checkpoint.tensors.items()},
        local,
    )
    sha256 = sha256_file(local)
    record = _Record(
        step=checkpoint.step,
        file=f"{_folder(checkpoint.phase)}/{local.stem}-{sha256[:12]}.safetensors",
        sha256=sha256,
        bytes=local.stat().st_size,
        layout=dict(checkpoint.layout),
    )
    reached(draft.stage, "checkpoint-blob", checkpoint.phase)
    draft.store.upload(local, f"{draft.base}/{record.file}")
    reached(draft.stage, "checkpoint-record", checkpoint.phase)
    draft.store.write(f"{draft.base}/{_folder(checkpoint.phase)}/{local.stem}.json", record.to_bytes())
    reached(draft.stage, "checkpoint-done", checkpoint.phase)
    local.unlink()
    _sweep(draft, checkpoint.phase)


def latest(draft: Draft, layout: Mapping[str, JsonValue], phase: str = "train") -> Checkpoint | None:
    """The newest whole checkpoint of a phase, None if there is none; a damaged one is passed over, warning.

    Raises UserError with the two values when its layout is another than `layout`, StoreError.
    """
    for path in sorted(_record_paths(draft, phase), reverse=True):
        record = _read_record(draft, path)
        tensors = _read_tensors(draft, record) if record else None
        if record is None or tensors is None:
            _log.warning("%s/%s: the checkpoint is damaged, trying the one before", draft.store.url, path)
            continue
        _require_layout(f"{draft.store.url}/{path}", record.layout, layout)
        return Checkpoint(record.step, tensors, record.layout, phase)
    return None


def _folder(phase: str) -> str:
    return f"checkpoints/{phase}"


def _record_paths(draft: Draft, phase: str) -> list[str]:
    return [path for path in draft.store.list(f"{draft.base}/{_folder(phase)}") if path.endswith(".json")]


def _read_record(draft: Draft, path: str) -> _Record | None:
    try:
        return _Record.model_validate_json(draft.store.read(path))
    except (FileNotFoundError, ValidationError):
        return None


def _read_tensors(draft: Draft, record: _Record) -> dict[str, Tensor] | None:
    from safetensors.torch import load_file

    local = draft.workdir / "latest.safetensors"
    try:
        draft.store.download(f"{draft.base}/{record.file}", local)
    except FileNotFoundError:
        return None
    try:
        if sha256_file(local) != record.sha256:
            return None
        return {name: tensor.clone() for name, tensor in load_file(local).items()}
    finally:
        local.unlink()


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
    for path in draft.store.list(f"{draft.base}/{_folder(phase)}"):
        if path.endswith(".safetensors") and path.rpartition("-")[0] not in kept:
            draft.store.delete(path)
            reached(draft.stage, "checkpoint-blob-deleted", phase)
