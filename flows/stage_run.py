"""One stage under Prefect: cached or done, shown, mirrored. The body of every stage flow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import terminal
from flows.mirror import mirrored
from flows.records import expect_task_run
from flows.sources import open_input
from flows.stages import stage_of
from flows.watch import Watch, watch_of
from infra.artifact import Artifact
from infra.recipe import Performance, Section
from infra.runs import BEAT_S
from infra.stopping import attended
from infra.store import Store
from tasks.progress import Progress
from tasks.stage import entry_point, find_cached, run_stage


def run(stage_id: str, config: Section, inputs: dict[str, str], store_url: str, perf: Performance) -> State[str] | str:
    """The URI of the stage's artifact; the state `Cached` around it if it had been made before."""
    stage, store = stage_of(stage_id), Store.open(store_url)
    sources = {role: open_input(store, role, uri) for role, uri in inputs.items()}
    cached = find_cached(stage.name, stage.version, config, sources, store)
    if cached is not None:
        with mirrored(stage_id) as mirror:
            mirror.finished(cached, cached=True)
        return Completed(name="Cached", message=cached.uri, data=cached.uri)
    return work.with_options(name=stage.name)(stage_id, config, inputs, store_url, perf)


# No cache of Prefect's: it takes an outage of its store for a miss. One task run for all units: a thousand of
# them lock SQLite.
@task(cache_policy=NO_CACHE, persist_result=False)
def work(stage_id: str, config: Section, inputs: dict[str, str], store_url: str, perf: Performance) -> str:
    """Do the stage; the URI of its artifact."""
    expect_task_run()
    stage, store = stage_of(stage_id), Store.open(store_url)
    sources = {role: open_input(store, role, uri) for role, uri in inputs.items()}
    function, watch = entry_point(stage.function), watch_of(config)
    with mirrored(stage_id) as mirror, _everywhere(stage_id, mirror.progress, watch) as progress:

        def done() -> Artifact:
            return run_stage(stage.name, stage.version, function, config, sources, store, perf, progress)

        artifact = attended(done, watch.beat, BEAT_S, on_stop=lambda: _say_stopping(stage_id))
        mirror.finished(artifact, cached=False)
    return artifact.uri


@contextmanager
def _everywhere(stage_id: str, mirror: Progress, watch: Watch) -> Iterator[Progress]:
    """A Progress shown on the terminal and in Prefect, and watched."""
    with terminal.shown(stage_id) as screen:

        def progress(done: int, total: int, unit: str) -> None:
            watch(done, total, unit)
            screen(done, total, unit)
            mirror(done, total, unit)

        yield progress


def _say_stopping(stage_id: str) -> None:
    terminal.console().print(f"{stage_id}: stopping when the step under way is done and saved; again to stop at once")
