"""Garbage: what no recipe, pin, name or recent run needs. Found by `garbage`, removed by `sweep`, nothing else.

Kept are what the last run of every recipe began, made or used, its last on other teachers or captions if that is not a
season ago, what runs that are going on have made so far, what is pinned or named, all that those were made from, and
everything younger than a grace period; a run that is lost counts as going on until its last sign of life is as old. The
grace has to be longer than any run lives without writing: that is what protects a run whose records do not name its
newest work yet.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import groupby

from infra.artifact import MANIFEST, Artifact
from infra.artifact.redo import REDO, standing
from infra.errors import UserError
from infra.store import Store
from infra.upkeep.inventory import Entry, base_in, entries, pinned, wanted_by
from infra.upkeep.naming import names
from infra.upkeep.runs import RunRecord, StageRun, list_runs
from infra.upkeep.verify import VERIFIED
from infra.upkeep.withdrawal import judge, withdraw, withdrawn

GRACE = timedelta(days=7)
"""What is younger is kept, where nothing else is said."""
KEEP_RUNS = timedelta(days=90)
"""How long the record of a run is kept after it was last written; with it goes what it made of a teacher."""

_OURS = ("units/", "data/", "checkpoints/", f"{REDO}/")  # below an artifact's folder, beside the manifest and the like
_KILLED = "left by a writer that was killed"


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

    @property
    def bytes(self) -> int:
        """The size of them all."""
        return sum(self.sizes.values())

    def older(self, before: datetime, path: str) -> bool:
        """Whether the file was last written before that moment; one of unknown age was not."""
        return path in self.times and self.times[path] < before

    def all_older(self, before: datetime, *besides: str) -> bool:
        """Whether every file was, besides those of these names."""
        return all(self.older(before, path) for path in self.sizes if path.split("/")[-1] not in besides)


def garbage(
    store: Store,
    before: datetime,
    given_back: Collection[str] = frozenset(),
    *,
    known: Collection[Entry] | None = None,
) -> list[Garbage]:
    """What may be removed from the store: unneeded, and last written before that moment.

    That manifests were given back just now makes nothing younger. `known` is everything in the store, where that was
    read already. Raises UserError if a manifest, reference or pin
    does not parse, for what it keeps is unknown; StoreError.
    """
    return _garbage(store, _entries(store) if known is None else [*known], before, given_back)


def _entries(store: Store) -> list[Entry]:
    found = [*entries(store)]
    if broken := [entry for entry in found if entry.problem]:
        raise UserError(f"{broken[0].problem} Nothing is swept before, for what it was made from is unknown.")
    return found


def _garbage(store: Store, found: list[Entry], before: datetime, given_back: Collection[str]) -> list[Garbage]:
    files, kept = _listed(store), _kept(store, found, before)

    def is_idle(base: str) -> bool:
        # that it was read again, or withdrawn and given back, makes nothing younger
        besides = (VERIFIED, MANIFEST) if base in given_back else (VERIFIED,)
        return base not in kept and files[base].all_older(before, *besides)

    idle = [entry for entry in found if is_idle(entry.base)]
    rest = [entry.artifact for entry in found if entry.artifact is not None and entry not in idle]
    return [
        *(_unneeded(entry, files[entry.base].sizes) for entry in idle),
        *(one for artifact in rest for one in _orphans(artifact, files[artifact.base], before)),
        *_old_records(files),
        *(Garbage(name, _KILLED, leftover=name) for name, since in store.leftovers().items() if since < before),
    ]


def _listed(store: Store) -> dict[str, _Files]:
    found: dict[str, _Files] = defaultdict(_Files)
    for path, size in store.sizes().items():
        found["/".join(path.split("/")[:2])].sizes[path] = size
    for path, time in store.modified().items():
        found["/".join(path.split("/")[:2])].times[path] = time
    return found


def sweep(
    store: Store, found: Collection[Garbage], before: datetime, given_back: Collection[str] = frozenset()
) -> list[Garbage]:
    """Remove of what was found what is garbage still; that is returned. Raises UserError as `garbage` does, StoreError.

    A manifest goes before what it names, so that no reader trusts half an artifact. Killed in between, it leaves what a
    run that needs it goes on from, and what it had not yet judged to `give_back`.
    """
    known = _entries(store)
    again = {one.what: one for one in _garbage(store, known, before, given_back)}
    left = _withdrawn(store, known, [again[one.what] for one in found if one.what in again], before)
    _remove(store, [path for one in left for path in one.files])
    for one in left:
        if one.leftover is not None:
            store.drop_leftover(one.leftover)
    return left


def _withdrawn(store: Store, known: list[Entry], found: list[Garbage], before: datetime) -> list[Garbage]:
    """What is left of it when its manifests are gone: what a run took for cached just before gets its own back."""
    finished = {one.what for one in found} & {entry.base for entry in known if entry.artifact}
    mine = withdraw(store, sorted(finished))
    kept = _kept(store, known, before, but=mine)
    gone = judge(store, mine, kept)
    return [one for one in found if one.what not in kept and (one.what in gone or one.what not in finished)]


def _remove(store: Store, paths: Collection[str]) -> None:
    """Remove in bulk, in turns: a store keeps no order within one request."""
    for _, some in groupby(sorted(paths, key=_names_first), lambda path: _names_first(path)[:2]):
        store.delete_many([*some])


def _kept(store: Store, known: list[Entry], before: datetime, but: str = "") -> set[str]:
    """Folders of the artifacts that are wanted, or that a sweep withdrew, and of all that those were made from.

    `but` is the path of one's own record of what was withdrawn.
    """
    runs = list_runs(store)
    going_on = [stage for run in runs if _goes_on(run, before) for stage in run.stages]
    taken = {base for stage in (*going_on, *_last(runs)) for base in (stage.artifact, *stage.inputs)}
    named = {record.now.artifact for record in names(store).values()}
    waiting = {*wanted_by(store), *pinned(store), *named, *taken, *withdrawn(store, but)}
    by_base = {entry.base: entry.artifact for entry in known}
    kept: set[str] = set()
    while waiting:
        base = waiting.pop()
        kept.add(base)
        artifact = by_base.get(base)
        if artifact is not None:
            waiting |= {found for record in artifact.manifest.inputs if (found := base_in(record.uri))} - kept
    return kept


def _last(runs: Collection[RunRecord]) -> Collection[StageRun]:
    """What each recipe last did of each stage on each teacher and caption set: as long as there is a record of it."""
    last = {(run.recipe, run.given, stage.stage): stage for run in runs if run.given for stage in run.stages}
    return last.values()


def _goes_on(run: RunRecord, before: datetime) -> bool:
    """Whether a run may still need what it has: one that fell silent long ago does not come back."""
    return run.state == "running" and not (run.is_lost(datetime.now(UTC)) and run.last_sign_at < before)


def _old_records(files: Mapping[str, _Files]) -> Iterator[Garbage]:
    before = datetime.now(UTC) - KEEP_RUNS
    for path, one in files.items():
        if path.startswith("runs/") and one.all_older(before):
            yield Garbage(path, f"the record of a run more than {KEEP_RUNS.days} days ago", [path], one.bytes)


def _unneeded(entry: Entry, sizes: dict[str, int]) -> Garbage:
    reason = (
        "no recipe's last run and no pin needs it" if entry.artifact else "unfinished, and no recipe goes on with it"
    )
    files = [path for path in sizes if _is_ours(path.removeprefix(f"{entry.base}/"))]
    return Garbage(entry.base, reason, sorted(files, key=_names_first), sum(sizes[path] for path in files))


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
    return inside in (MANIFEST, VERIFIED) or inside.startswith(_OURS)


def _names_first(path: str) -> tuple[bool, bool, str]:
    """The manifest, then the unit records, then what they name: who comes in between finds nothing half there."""
    return not path.endswith(f"/{MANIFEST}"), "/units/" not in path, path
