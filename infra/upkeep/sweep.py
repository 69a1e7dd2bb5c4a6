"""Garbage: what no recipe, no pin and no recent run needs. Found by `garbage`, removed by `sweep`, nothing else.

Kept are what the last run of every recipe made or used, what runs that are going on have made so far, what is pinned,
all that those were made from, and everything younger than a grace period. The grace has to be longer than any run lives
without writing: that is what protects a run whose records do not name its newest work yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from infra.artifact import MANIFEST, Artifact
from infra.artifact.redo import REDO, standing
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import Entry, entries, inputs_of, pinned, wanted_by
from infra.upkeep.runs import list_runs

_OURS = ("units/", "data/", "checkpoints/", f"{REDO}/")  # below an artifact's folder, beside the manifest and the like
_KILLED = "left by a writer that was killed"
_RECORDS = (MANIFEST, "plan.json")


@dataclass(frozen=True)
class Garbage:
    """One thing to remove: its files in the order of their removal, or a leftover of a killed writer."""

    what: str
    reason: str
    files: list[str] = field(default_factory=list)
    bytes: int = 0
    leftover: str | None = None


@dataclass(frozen=True)
class _Files:
    """The files of one artifact's folder, by path in the store."""

    sizes: dict[str, int] = field(default_factory=dict)
    times: dict[str, datetime] = field(default_factory=dict)

    def older(self, before: datetime, path: str = "") -> bool:
        """Whether the file, or every file, was last written before that moment; one of unknown age was not."""
        paths = [path] if path else self.sizes
        return all(one in self.times and self.times[one] < before for one in paths)


def garbage(store: Store, before: datetime) -> list[Garbage]:
    """What may be removed from the store: unneeded, and last written before that moment.

    Raises UserError if a manifest, reference or pin does not parse, for what it keeps is unknown; StoreError.
    """
    found = [*entries(store)]
    if broken := [entry for entry in found if entry.problem]:
        raise UserError(f"{broken[0].problem} Nothing is swept before, for what it was made from is unknown.")
    files = _listed(store)
    kept = _kept(store, found)
    idle = [entry for entry in found if entry.base not in kept and files[entry.base].older(before)]
    rest = [entry.artifact for entry in found if entry.artifact is not None and entry not in idle]
    return [
        *(_unneeded(entry, files[entry.base].sizes) for entry in idle),
        *(one for artifact in rest for one in _orphans(artifact, files[artifact.base], before)),
        *(Garbage(name, _KILLED, leftover=name) for name, since in store.leftovers().items() if since < before),
    ]


def _listed(store: Store) -> dict[str, _Files]:
    found: dict[str, _Files] = defaultdict(_Files)
    for path, size in store.sizes().items():
        found["/".join(path.split("/")[:2])].sizes[path] = size
    for path, time in store.modified().items():
        found["/".join(path.split("/")[:2])].times[path] = time
    return found


def sweep(store: Store, found: Iterable[Garbage]) -> None:
    """Remove it. A manifest goes before what it names, so that no reader trusts half an artifact. Raises StoreError."""
    for one in found:
        for path in one.files:
            store.delete(path)
        if one.leftover is not None:
            store.drop_leftover(one.leftover)


def _kept(store: Store, found: list[Entry]) -> set[str]:
    """Folders of the artifacts that are wanted, and of all that those were made from."""
    going_on = [run for run in list_runs(store) if run.state == "running"]
    waiting = {*wanted_by(store), *pinned(store), *(stage.artifact for run in going_on for stage in run.stages)}
    by_base = {entry.base: entry.artifact for entry in found}
    kept: set[str] = set()
    while waiting:
        base = waiting.pop()
        kept.add(base)
        artifact = by_base.get(base)
        if artifact is not None:
            waiting |= {source.base for _, source in inputs_of(artifact) if source is not None} - kept
    return kept


def _unneeded(entry: Entry, sizes: dict[str, int]) -> Garbage:
    reason = (
        "no recipe's last run and no pin needs it" if entry.artifact else "unfinished, and no recipe goes on with it"
    )
    files = [path for path in sizes if _is_ours(path.removeprefix(f"{entry.base}/"))]
    return Garbage(entry.base, reason, sorted(files, key=_manifest_first), sum(sizes[path] for path in files))


def _orphans(artifact: Artifact, files: _Files, before: datetime) -> Iterator[Garbage]:
    """What the making of a finished artifact left: blobs that its manifest does not name, checkpoints, answered marks.

    The unit records of the first making stay: from them a manifest that was lost is put together again.
    """
    if standing(artifact.store, artifact.base, files.sizes):
        return
    named = {f"{artifact.base}/{file.path}" for file in artifact.manifest.files}
    for path, size in files.sizes.items():
        left = path.removeprefix(f"{artifact.base}/").startswith(("data/", "checkpoints/", f"{REDO}/"))
        if left and path not in named and files.older(before, path):
            yield Garbage(path, "no manifest names it", [path], size)


def _is_ours(inside: str) -> bool:
    return inside in _RECORDS or inside.startswith(_OURS)


def _manifest_first(path: str) -> tuple[bool, str]:
    return not path.endswith(f"/{MANIFEST}"), path
