"""`instaflow models`: the names that people give artifacts."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.table import Table

from flows.algorithms import algorithms, find_algorithm
from flows.cli.options import DEFAULT_STORE, StoreUrl
from flows.run.sources import EMBEDDED
from flows.run.terminal import say
from infra.errors import UserError
from infra.store import open_store
from infra.upkeep.inventory import find
from infra.upkeep.naming import give_name, names, take_name

models = typer.Typer(help="Names for models: wherever an id is taken, a name is.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="for instance sd15-v3")]


@models.command(name="name")
def name_(
    ref: Annotated[str, typer.Argument(metavar="ID", help="stage/fingerprint, its first digits, or another name")],
    name: Name,
    store: StoreUrl = DEFAULT_STORE,
    move: Annotated[bool, typer.Option("--move", help="a name that stands for something else may be moved")] = False,
    note: Annotated[str, typer.Option(help="why")] = "",
) -> None:
    """Have a name stand for an artifact, which is then kept from `artifacts gc`; what it stood for is remembered."""
    roles = {role.name for one in algorithms() for role in find_algorithm(one, "flows/algorithms").roles}
    embedded = {embedded for _, embedded in EMBEDDED}
    if name in roles | embedded:
        means = f"is what every recipe's own {name} is called" if name in roles else "is what comes with the project"
        raise UserError(f"name {name}: {means}. Choose another, e.g. {name}-v1.")
    artifact = find(open_store(store), ref)
    give_name(artifact, name, move=move, note=note)
    say(f"{name} is {artifact.base}")


@models.command()
def ls(
    store: StoreUrl = DEFAULT_STORE,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON: the history of each name, oldest first")] = False,
) -> None:
    """List every name with what it stands for, and below it what it stood for before."""
    where = open_store(store)
    found = names(where)
    if as_json:
        print(json.dumps({name: record.model_dump(mode="json")["history"] for name, record in found.items()}, indent=2))
        return
    table = Table("name", "artifact", "since", "by", "note", box=None, pad_edge=False)
    for name, record in found.items():
        for one in reversed(record.history):
            is_now = one is record.now
            table.add_row(name if is_now else "  before", one.artifact, one.since[:19], one.by or "unknown", one.note)
    say(table if found else f"no names in {where.url} yet")


@models.command()
def unname(name: Name, store: StoreUrl = DEFAULT_STORE) -> None:
    """Take a name away, with its history; the artifact stays until `artifacts gc`."""
    say(f"{name} {'is no name any more' if take_name(open_store(store), name) else 'was no name'}")
