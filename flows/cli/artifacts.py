"""`instaflow artifacts`: what is in a store, whether it is whole, where it came from, what may go."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table
from rich.tree import Tree

from flows.cli.options import DEFAULT_STORE, StoreUrl
from flows.run import terminal
from flows.run.terminal import say
from infra.artifact import MANIFEST, Artifact
from infra.artifact.manifest import ADDED, Manifest
from infra.errors import UserError
from infra.store import Store, StoreError, open_store
from infra.upkeep.inventory import entries, find, inputs_of, pin, pinned, unpin, wanted_by
from infra.upkeep.naming import names
from infra.upkeep.sweep import GRACE, Garbage
from infra.words import duration, size

artifacts = typer.Typer(help="Artifacts in a store: list, check, trace, copy, sweep.", no_args_is_help=True)

Ref = Annotated[
    str, typer.Argument(metavar="ID", help="stage/fingerprint or the fingerprint, whose first digits will do; a name")
]
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@artifacts.command()
def ls(
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list for machines")] = False,
) -> None:
    """List every artifact: rows, size, when it was finished, and who wants it kept."""
    where = open_store(store)
    lines = [*_lines(where)]
    if as_json:
        print(json.dumps(lines, indent=2))
        return
    table = Table("artifact", "rows", "size", "finished", "wanted by", box=None, pad_edge=False)
    for line in lines:
        rows, count = line["rows"], line["bytes"]
        table.add_row(
            str(line["artifact"]),
            f"{rows:,}" if isinstance(rows, int) else "",
            size(count) if isinstance(count, int) else "",
            str(line["problem"] or line["finished_at"] or "unfinished")[:19],
            ", ".join([*line["recipes"], *line["names"], *(["pinned"] if line["pinned"] else [])]),  # type: ignore[misc]
        )
    say(table if lines else f"no artifacts in {where.url} yet")


def _lines(store: Store) -> Iterator[dict[str, object]]:
    wanted, pins, named = wanted_by(store), pinned(store), names(store)
    for entry in entries(store):
        manifest = entry.artifact.manifest if entry.artifact else None
        yield {
            "artifact": entry.base,
            "digest": manifest.digest if manifest else None,
            "rows": manifest.rows if manifest else None,
            "bytes": sum(file.bytes for file in manifest.files) if manifest else None,
            "seconds": manifest.seconds if manifest else None,
            "finished_at": manifest.finished_at if manifest else None,
            "recipes": wanted.get(entry.base, []),
            "names": [name for name, record in named.items() if record.now.artifact == entry.base],
            "pinned": entry.base in pins,
            "problem": "damaged manifest" if entry.problem else None,
        }


@artifacts.command()
def show(
    ref: Ref,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print the manifest as it is")] = False,
) -> None:
    """Show one artifact: what it is, what it was made from and with, its files."""
    artifact = find(open_store(store), ref)
    if as_json:
        print(artifact.store.read(f"{artifact.base}/{MANIFEST}").decode(), end="")
        return
    manifest = artifact.manifest
    facts = {
        "artifact": artifact.uri,
        "digest": manifest.digest,
        "finished": f"{manifest.finished_at[:19]}, {duration(manifest.seconds)} of work",
        "rows": f"{manifest.rows:,}",
        "config": json.dumps(manifest.config),
        "metrics": json.dumps(manifest.metrics),
        **{f"input {one.role}": f"{one.uri} ({one.digest[:12]})" for one in manifest.inputs},
        "made with": ", ".join(f"{name} {version}" for name, version in manifest.environment.items()),
        **({"made by": "\n".join(_makers(manifest))} if manifest.environments else {}),
    }
    table = Table(Column(), Column(overflow="fold"), show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        table.add_row(name, value)
    say(table)
    files = Table(Column("file", overflow="fold"), "size", "rows", "sha256", box=None, pad_edge=False)
    for file in manifest.files:
        files.add_row(file.path, size(file.bytes), "" if file.rows is None else f"{file.rows:,}", file.sha256[:12])
    say(files)


def _makers(manifest: Manifest) -> Iterator[str]:
    """Host and device of how many units, with whatever else was not the same for all of them."""
    made = Counter(part.environment for part in manifest.units)
    names = dict.fromkeys(name for one in manifest.environments for name in one if name not in ("host", "device"))
    differ = [name for name in names if len({one.get(name) for one in manifest.environments}) > 1]
    for place, one in enumerate(manifest.environments):
        where = (one.get(name, f"{name} not known") for name in ("host", "device"))
        what = [f"{', '.join(where)}: {made[place]:,} of {len(manifest.units):,} units"]
        yield ", ".join([*what, *(f"{name} {one.get(name, 'none')}" for name in differ)])


@artifacts.command()
def verify(
    ref: Annotated[str | None, typer.Argument(metavar="[ID]", help="one artifact; all of them if left out")] = None,
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Read every byte again. What is damaged is named and marked, so that the next run redoes it, and only that."""
    from infra.artifact.redo import standing
    from infra.upkeep.verify import damages, mark

    where = open_store(store)
    bad = 0
    for artifact in _chosen(where, ref):
        if artifact is None:
            bad += 1
            continue
        before = standing(where, artifact.base)
        total = sum(file.bytes for file in artifact.manifest.files)
        with _counted(f"verify {artifact.base}", total) as seen:
            found = [*damages(artifact, seen)]
        for damage in found:
            say(f"{artifact.base}/{damage.path}: {damage.problem}")
        bad += len(found)
        _mark(artifact, lambda one=artifact, what=found, marks=before: mark(one, what, marks), bool(found))  # type: ignore[misc]
    if bad:
        raise typer.Exit(1)
    say("every file is what its manifest says")


def _chosen(store: Store, ref: str | None) -> Iterator[Artifact | None]:
    if ref is not None:
        yield find(store, ref)
        return
    for entry in entries(store):
        if entry.problem:
            say(entry.problem)
            yield None
        elif entry.artifact:
            yield entry.artifact


def _mark(artifact: Artifact, mark: Callable[[], list[str]], damaged: bool) -> None:
    try:
        units = mark()
    except StoreError as error:
        if damaged:  # a store that may only be read can be checked all the same
            say(f"{artifact.base}: cannot be marked to be redone: {error}")
        return
    if damaged:
        what = f"unit{'s' if len(units) > 1 else ''} {', '.join(units)}" if units else "the damaged part"
        again = "Add its folder" if artifact.stage == ADDED else "Run its recipe"
        say(f"{artifact.base}: marked. {again} again: only {what} will be redone.")


@artifacts.command()
def urls(
    ref: Ref,
    store: StoreUrl = DEFAULT_STORE,
    glob: Annotated[str, typer.Option(help="which files, by logical name")] = "*.tar",
) -> None:
    """Print where the shards are, one a line, for any WebDataset reader."""
    artifact = find(open_store(store), ref)
    found = artifact.files(glob)
    if not found:
        names = ", ".join(file.name for file in artifact.manifest.files[:5])
        raise UserError(f"artifact {artifact.base}: no file is named {glob}; it has {names}. Choose with --glob.")
    for file in found:
        path = f"{artifact.base}/{file.path}"
        print(artifact.store.local_path(path) or f"{artifact.store.url}/{path}")


@artifacts.command()
def lineage(
    ref: Ref,
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print a JSON list for machines: inputs first")] = False,
) -> None:
    """Draw what an artifact was made from, down to the prompts and the teacher."""
    from infra.upkeep.transfer import with_inputs

    artifact = find(open_store(store), ref)
    if as_json:
        print(json.dumps([_made_of(one) for one in with_inputs(artifact)], indent=2))
        return
    tree = Tree(_label(artifact))
    _grow(tree, artifact, {artifact.base})
    say(tree)


def _grow(tree: Tree, artifact: Artifact, drawn: set[str]) -> None:
    for record, source in inputs_of(artifact):
        if source is None:
            tree.add(f"{record.role}: {record.uri} ({record.digest[:12]})")
            continue
        redone = "" if source.digest == record.digest else f", redone since; it was {record.digest[:12]}"
        if source.base in drawn:
            tree.add(f"{record.role}: {source.base} (above){redone}")
            continue
        drawn.add(source.base)
        _grow(tree.add(f"{record.role}: {_label(source)}{redone}"), source, drawn)


def _made_of(artifact: Artifact) -> dict[str, object]:
    """One artifact of a lineage; `artifact` of an input is null for a folder and for what is not in the store."""
    return {
        "artifact": artifact.base,
        "uri": artifact.uri,
        "digest": artifact.digest,
        "rows": artifact.manifest.rows,
        "inputs": [
            {"role": record.role, "uri": record.uri, "digest": record.digest, "artifact": source and source.base}
            for record, source in inputs_of(artifact)
        ],
    }


def _label(artifact: Artifact) -> str:
    return f"{artifact.base} ({artifact.digest[:12]}, {artifact.manifest.rows:,} rows)"


@artifacts.command()
def add(
    folder: Annotated[Path, typer.Argument(help="a diffusers folder, a COCO caption set, a CLIP, pictures, weights")],
    store: StoreUrl = DEFAULT_STORE,
) -> None:
    """Put a folder that recipes give by path into the store, once: then its address does, on every machine.

    Repeat the command to go on with one that was interrupted.
    """
    from flows.run.trees import tree_of
    from infra.artifact.fingerprint import tree_files
    from infra.upkeep.adding import add as put

    where, local = open_store(store), folder.expanduser()
    tree = tree_of(local)
    total = sum(path.stat().st_size for path in tree_files(local).values())
    with _counted(f"add {folder}", total) as sent:
        artifact, is_new = put(where, local, tree, sent)
    say(f"{artifact.uri}{'' if is_new else ' (was there)'}")
    say(_USES[tree].format(artifact.uri))


_USES = {
    "model": "a teacher: --set teacher.path={0}",
    "coco": "a caption set: --set world=null --set coco.path={0}",
    "clip": "a CLIP: an input of stages, clip or judge: {0}",
    "pictures": "pictures to measure: instaflow evaluate {0}",
    "weights": "weights, where a recipe names them: a file of it {0}/NAME, or the folder {0}",
}


@artifacts.command(name="pin")
def pin_(
    ref: Ref,
    store: StoreUrl = DEFAULT_STORE,
    note: Annotated[str, typer.Option(help="why")] = "",
) -> None:
    """Keep an artifact and all it was made from, whatever the recipes do."""
    artifact = find(open_store(store), ref)
    pin(artifact.store, artifact, note)
    say(f"{artifact.base} is pinned")


@artifacts.command(name="unpin")
def unpin_(ref: Ref, store: StoreUrl = DEFAULT_STORE) -> None:
    """Take the pin of an artifact away."""
    artifact = find(open_store(store), ref)
    say(f"{artifact.base} {'is not pinned any more' if unpin(artifact.store, artifact) else 'was not pinned'}")


@artifacts.command()
def gc(
    store: StoreUrl = DEFAULT_STORE,
    grace: Annotated[str, typer.Option(help="keep what is younger: 7d, 12h, 30m")] = f"{GRACE.days}d",
    delete: Annotated[bool, typer.Option("--delete", help="remove it; otherwise it is only listed")] = False,
) -> None:
    """List what no recipe's last run, no pin, no name and no recent run needs; with --delete, remove it."""
    from infra.upkeep.sweep import garbage, sweep
    from infra.upkeep.withdrawal import give_back

    where, before = open_store(store), _before(grace)
    given_back = give_back(where) if delete else set[str]()
    for base in sorted(given_back):
        say(f"{base}: its manifest is back, which a sweep had taken that was killed")
    found = garbage(where, before, given_back)
    for one in found:
        say(f"{one.what}: {one.reason}{f', {size(one.bytes)}' if one.bytes else ''}")
    if not found:
        say("nothing to remove")
    elif not delete:
        say(f"would remove {_things(found)}; say --delete to do it")
    else:
        removed = sweep(where, found, before, given_back)
        for one in found:
            if one.what not in {gone.what for gone in removed}:
                say(f"{one.what}: kept, it has come to be needed meanwhile")
        say(f"removed {_things(removed)}")


def _things(found: Collection[Garbage]) -> str:
    return f"{len(found)} thing{'' if len(found) == 1 else 's'}, {size(sum(one.bytes for one in found))}"


def _before(grace: str) -> datetime:
    """The moment from which on everything is kept."""
    match = re.fullmatch(r"([0-9]+)([smhd])", grace.strip())
    try:
        if match is not None:
            return datetime.now(UTC) - timedelta(seconds=int(match[1]) * _UNITS_S[match[2]])
    except (OverflowError, ValueError):  # before the year 1; a number of thousands of digits
        pass
    raise UserError(f"--grace {grace}: expected a number and s, m, h or d, for instance 7d or 12h; at most 700000d.")


@artifacts.command()
def cp(
    ref: Ref,
    target: Annotated[str, typer.Argument(metavar="STORE", help="a folder or s3://BUCKET/PATH")],
    store: StoreUrl = DEFAULT_STORE,
    alone: Annotated[bool, typer.Option("--alone", help="without what it was made from")] = False,
) -> None:
    """Copy an artifact, with all it was made from, to another store. Repeat the command to go on with a copy."""
    from infra.upkeep.transfer import copy, with_inputs

    artifact, there = find(open_store(store), ref), open_store(target)
    for one in [artifact] if alone else with_inputs(artifact):
        total = sum(file.bytes for file in one.manifest.files)
        with _counted(f"cp {one.base}", total) as copied:
            is_new = copy(one, there, copied)
        say(f"{there.url}/{one.base}{'' if is_new else ' (was there)'}")


@contextmanager
def _counted(label: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows a progress of bytes, told piece by piece."""
    with terminal.shown(label) as progress:
        count = 0

        def advance(more: int) -> None:
            nonlocal count
            count += more
            progress(count, total, "bytes")

        yield advance
