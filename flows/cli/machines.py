"""Commands about the machines that runs are done on: `instaflow deploy`, `worker`, `up`, `down`, `rerun`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

machines = typer.Typer()
PoolsFile = Annotated[Path | None, typer.Option("--pools", metavar="FILE", help="YAML file; default: the bundled one")]


@machines.command()
def deploy(
    pools: PoolsFile = None,
    notify: Annotated[
        str | None,
        typer.Option(metavar="BLOCK", help="a Prefect block, TYPE/NAME, through which people are told what went wrong"),
    ] = None,
) -> None:
    """Register the pipelines and every stage on the work pools; told twice, nothing changes."""
    from flows.deploy.pools import read_pools

    wanted = read_pools(pools)
    with _server():
        from flows.deploy.notifications import tell_through
        from flows.deploy.registering import register

        if notify is not None:
            tell_through(notify)
        for name in register(wanted):
            print(name)


@machines.command()
def worker(
    pool: Annotated[str, typer.Argument(help="the work pool whose runs are done")],
    name: Annotated[str | None, typer.Option(help="what it is called in Prefect's pages")] = None,
    devices: Annotated[
        str | None,
        typer.Option(
            metavar="N,N,...",
            envvar="CUDA_VISIBLE_DEVICES",
            help="the devices that it alone owns; with any it does one run at a time",
        ),
    ] = None,
) -> None:
    """Do the runs of a pool. SIGTERM or Ctrl-C: what is running saves, is requeued for another worker, then it ends."""
    with _server():
        from flows.deploy.devices import owned
        from flows.deploy.worker import work

        with owned(devices or ""):
            work(pool, name, one_at_a_time=bool(devices))


@machines.command()
def rerun(run: Annotated[str, typer.Argument(help="id or name of a run in Prefect's pages")]) -> None:
    """Have a run whose engine is gone, or that has ended, done again by a worker, which resumes it."""
    with _server():
        from flows.deploy.rerunning import rerun as again

        print(again(run))


@machines.command()
def up(
    pools: PoolsFile = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="of the server, on 127.0.0.1")] = 4200,
) -> None:
    """Start a server (unless one stands), deploy, and start the workers of the pools on this machine."""
    from flows.deploy.one_machine import start
    from flows.deploy.pools import read_pools

    read_pools(pools)
    print(start(pools, port))


@machines.command()
def down() -> None:
    """Stop what `up` started: the runs under way are saved and requeued, then workers and server end."""
    from flows.deploy.one_machine import stop

    stop()


@contextmanager
def _server() -> Iterator[None]:
    """The configured or the standing server, which has to be there: nobody is helped by one that ends with us."""
    from flows.server.connection import standing

    with standing():
        yield
