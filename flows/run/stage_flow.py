"""One stage under Prefect: cached or done, shown, mirrored; and the flow that it is, made from its declaration."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from inspect import Parameter, Signature
from typing import Annotated, Any, cast

from prefect import Flow, flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.utilities.annotations import quote
from pydantic import Field

from flows.run import opened, terminal, watch
from flows.run.form import STORE, Public
from flows.run.recording import ALONE, Origin, recording
from flows.run.sent import Sent, called, require_same_inputs
from flows.run.sources import open_input
from flows.run.watch import Watch
from flows.server.arrival import arrive
from flows.server.mirror import mirrored, telling
from flows.server.records import expect_task_run
from flows.server.tagging import stage_tags, tag_this_run
from infra.artifact import Artifact, Source, base_of
from infra.errors import UserError
from infra.recipe import Count, Section
from infra.stopping import attended
from infra.store import Store, open_store
from infra.upkeep.runs import BEAT_S, given_name
from tasks.progress import Progress
from tasks.sections import Performance
from tasks.share import Share
from tasks.stage import Job, Make, do_job, here, make_share, stage_fingerprint
from tasks.stages import STAGES, Stage, gpus_fault, stage_of

Result = State[str] | str
DOOR = "flows.stage_flows"
"""The module in which a worker finds the flows."""


def stage_flow(stage: Stage) -> Flow[..., Result]:
    """The stage as a Prefect flow that can be deployed alone; its parameters are the form of Prefect's pages."""

    def body(
        config: Section,
        inputs: dict[str, str],
        store: str,
        performance: Performance,
        name: str,
        gpus: int,
        sent: Sent | None,
    ) -> State[str] | str:
        return run(name, config, inputs, store, performance, gpus, sent)

    _present(body, stage)
    return flow(name=stage.name, flow_run_name=_called, persist_result=False)(body)


def _called() -> str:
    """The name of a run, from its parameters."""
    told: dict[str, Any] = flow_run.parameters
    sent = told.get("sent")
    return called(told["name"], Sent.model_validate(sent).share if sent else None)


_FORM = f"""

Args:
    inputs: what is read, by role, as JSON: an artifact of the store (stage/fingerprint), the absolute path of a folder\
 that the worker has, or mini, the embedded teacher
    store: {STORE}
    name: the stage, and which of several: pairs-student
    gpus: devices of one worker that a training is spread over
    sent: what a pipeline tells those that it sends; nothing, by hand
"""


def _present(body: Callable[..., Result], stage: Stage) -> None:
    """What Prefect reads off a function: name, place, description, typed parameters."""
    defaults = {"performance": Performance(), "name": stage.name, "gpus": 1, "sent": None}
    types: dict[str, Any] = {
        "config": stage.section,
        "inputs": dict[str, Public],
        "store": Public,
        "performance": Performance,
        "name": Annotated[str, Field(pattern=rf"^{stage.name}(-[A-Za-z0-9._-]+)?$")],
        "gpus": Count,
        "sent": Sent | None,
    }
    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(name, Parameter.empty), annotation=kind)
        for name, kind in types.items()
    ]
    body.__name__ = body.__qualname__ = stage.name
    body.__module__ = DOOR
    body.__doc__ = f"{stage.does}. Inputs: {', '.join(stage.inputs) or 'none'}.{_FORM}"
    body.__annotations__ = {**types, "return": Result}
    body.__signature__ = Signature(parameters, return_annotation=Result)  # type: ignore[attr-defined]


def run(
    stage_id: str,
    config: Section,
    inputs: dict[str, str],
    store_url: str,
    performance: Performance,
    gpus: int = 1,
    sent: Sent | None = None,
) -> Result:
    """The URI of the stage's artifact; the state `Cached` around it if it had been made before.

    Of one that goes on from what was there the state is `Resumed`, its message says from where (`37/160 pairs`).

    A runner that calls it writes it down; started by itself, or sent by a pipeline, it is a run with its own record.
    One that was sent for a share of the units leaves the artifact to the pipeline. A training is shared out over so
    many `gpus` of this machine, or processes where it has none. Raises UserError for another stage on several.
    """
    stage, is_called = stage_of(stage_id), watch.current() is not None
    if fault := gpus_fault(stage, gpus):
        raise UserError(f"stage {stage.name}: gpus: {fault}")
    if not is_called:
        arrive(store_url)
    store = open_store(store_url)
    with opened.remembering():
        job = Job(stage, config, _Sources(stage, inputs, store), store, performance)
        if is_called:
            artifact, cached, resumed = _done(stage_id, job, gpus)
        else:
            artifact, cached, resumed = _alone(stage_id, job, gpus, sent)
    uri = artifact.uri if artifact else f"{store.url}/{_base(job)}"
    if cached:
        return Completed(name="Cached", message=uri, data=uri)
    return Completed(name="Resumed", message=f"resumed {resumed}: {uri}", data=uri) if resumed else uri


_Ended = tuple[Artifact | None, bool, str]
"""The artifact, None after a share of it; whether it had been made before; where it was resumed, empty for nowhere."""


def _alone(stage_id: str, job: Job, gpus: int, sent: Sent | None) -> _Ended:
    """As :func:`_done`, written down as a run of its own."""
    require_same_inputs(stage_id, job.inputs, sent)
    base = _base(job)
    tag_this_run(stage_tags(stage_id, base))
    given = given_name([(role, source.digest) for role, source in job.inputs.items()])
    told = sent or Sent(recipe=ALONE, given=given)
    origin = Origin(part_of=told.run, given=told.given, teacher=told.teacher, teacher_digest=told.teacher_digest)
    with (
        recording(job.store, told.recipe, origin=origin) as record,
        record.stage(stage_id, base, job.config, job.inputs) as made,
    ):
        artifact, cached, resumed = _done(stage_id, job, gpus, told.share)
        made(artifact, cached)
    return artifact, cached, resumed


def _base(job: Job) -> str:
    return base_of(job.stage.name, stage_fingerprint(job.stage, job.config, job.inputs))


def _done(stage_id: str, job: Job, gpus: int, share: Share | None = None) -> _Ended:
    cached, watcher = opened.cached(job.stage, job.config, job.inputs, job.store), watch.current()
    assert watcher is not None, "a run is written down"
    if cached is None:
        # quoted: Prefect would look into every field of it for results of other tasks
        uri = work.with_options(name=job.stage.name)(stage_id, cast(Job, quote(job)), gpus, share)
        return opened.find(job.store, uri) if uri else None, False, "" if share else watcher.resumed
    with mirrored(stage_id, watcher.behalf) as mirror:
        mirror.committed(cached, cached=True)
    return cached, True, ""


# No cache of Prefect's: it takes an outage of its store for a miss. One task run for all units: a thousand of
# them lock SQLite.
@task(cache_policy=NO_CACHE, persist_result=False)
def work(stage_id: str, job: Job, gpus: int, share: Share | None) -> str | None:
    """Do the stage, or a share of it; the URI of its artifact if that is finished."""
    expect_task_run()
    watcher = watch.current()
    assert watcher is not None, "a run is written down"
    watcher.devices = gpus
    job = replace(job, make=_made_by(job.stage, gpus), behalf=watcher.behalf)
    mirror_of = stage_id if share is None else f"{stage_id}-share-{share.number + 1}"
    with (
        mirrored(mirror_of, watcher.behalf) as mirror,
        telling(mirror, _base(job), is_told=not watcher.is_part) as committed,
        _everywhere(stage_id, mirror.progress, watcher) as progress,
    ):

        def done() -> Artifact | None:
            return do_job(job, progress) if share is None else make_share(job, share, progress)

        artifact = attended(done, watcher.beat, BEAT_S, on_stop=lambda: _say_stopping(stage_id))
        if artifact is None:
            return None
        committed(opened.remember(artifact))
    return artifact.uri


def _made_by(stage: Stage, gpus: int) -> Make:
    """How groups are made by so many devices of this machine, and of others if torchrun's variables name them."""
    if not stage.ranks or (gpus == 1 and os.environ.get("PET_NNODES", "1") == "1"):
        return here
    from tasks.train.launch import by_ranks  # brings torch

    return by_ranks(gpus)


class _Sources(dict[str, Source]):
    """The inputs by role; one that the stage cannot do without is asked for by name."""

    def __init__(self, stage: Stage, inputs: dict[str, str], store: Store) -> None:
        kinds = {role: stage.inputs.get(role, "model") for role in inputs}
        super().__init__({role: open_input(store, kinds[role], uri) for role, uri in inputs.items()})
        self._stage = stage

    def __missing__(self, role: str) -> Source:
        raise UserError(
            f"stage {self._stage.name}: inputs: {role} is missing, found {', '.join(self) or 'none'}. Name it: an"
            " artifact (stage/fingerprint), the absolute path of a folder, or mini."
        )


@contextmanager
def _everywhere(stage_id: str, mirror: Progress, watcher: Watch) -> Iterator[Progress]:
    """A Progress shown on the terminal and in Prefect, and watched."""
    with terminal.shown(stage_id) as screen:

        def progress(done: int, total: int, unit: str) -> None:
            watcher(done, total, unit)
            screen(done, total, unit)
            mirror(done, total, unit)

        yield progress


def _say_stopping(stage_id: str) -> None:
    terminal.console().print(f"{stage_id}: stopping when the step under way is done and saved; again to stop at once")


STAGE_FLOWS: dict[str, Flow[..., Result]] = {name: stage_flow(stage) for name, stage in STAGES.items()}
