"""Commands about the machines that runs are done on: `instaflow deploy`, `worker`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

machines = typer.Typer()
PoolsFile = Annotated[Path | None, typer.Option("--pools", metavar="FILE", help="YAML file; default: the bundled one")]


@machines.command()
def deploy(pools: PoolsFile = None) -> None:
    """Register the pipelines and every stage on the work pools; told twice, nothing changes."""
    from flows.deploy.pools import read_pools

    wanted = read_pools(pools)
    with _server():
        from flows.deploy.registering import register

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


@contextmanager
def _server() -> Iterator[None]:
    """The configured or the standing server, which has to be there: nobody is helped by one that ends with us."""
    from flows.server.connection import standing

    with standing():
        yield
