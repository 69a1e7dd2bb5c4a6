"""The algorithm's `Do` that does the work: each stage as a Prefect flow, in this process or by a pool's workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from prefect import tags
from prefect.client.schemas.objects import State

from flows.algorithms.chain import Chain, Given
from flows.run import opened, sources
from flows.run.before import made_before
from flows.run.budget import OverBudget, Purse
from flows.run.costs import read_site
from flows.run.dispatch import Errand, sent_away
from flows.run.placing import place_of
from flows.run.planner import Planner
from flows.run.price import DAY_S
from flows.run.recording import Origin, Recording, recording
from flows.run.selection import EVERYTHING, Choice, Selection, needed, select
from flows.run.stage_flow import STAGE_FLOWS
from flows.run.worse import tell_if_worse
from flows.server.mirror import mirrored
from flows.server.tagging import stage_tags
from infra.address import public
from infra.artifact import Artifact, Source, base_of
from infra.artifact.redo import redo_all
from infra.recipe import Section
from infra.store import Store
from infra.upkeep.runs import given_name, read_ref
from tasks.stage import Job, stage_fingerprint
from tasks.stages import stage_of


@dataclass(frozen=True)
class LeftOut:
    """Stands for the artifact of a stage that this run leaves out and that has not been made before."""

    stage_ids: frozenset[str]


Handle = Source | LeftOut


@dataclass
class Runner:
    """Runs the stages that are chosen, and has it written down."""

    chain: Chain
    store: Store
    recording: Recording
    selection: Selection
    made: dict[str, Artifact] = field(default_factory=dict)
    """What the run has so far, by stage id."""

    def __post_init__(self) -> None:
        self._planner = Planner(self.store, self.chain.recipe, self.recording.purse.site)

    def given(self, tree: str, path: str) -> Handle:
        """A folder that lies ready."""
        if self.recording.purse:
            self._planner.given(tree, path)  # its price
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Handle | None) -> Handle:
        taken = {role: one for role, one in inputs.items() if one is not None and not isinstance(one, LeftOut)}
        absent = {stage for one in inputs.values() if isinstance(one, LeftOut) for stage in one.stage_ids}
        if stage_id not in self.selection.run:
            return LeftOut(frozenset(absent)) if absent else self._left_out(stage_id, config, taken)
        if absent:
            raise needed(stage_id, absent, self.chain.recipe.name, self.store)
        return self._run(stage_id, self._begin(stage_id, config, taken), config, taken)

    def _begin(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> str:
        """Where its artifact will be, which is to be made again if that was asked for."""
        self.recording.alarm()
        kind = stage_of(stage_id)
        base = base_of(kind.name, stage_fingerprint(kind, config, taken))
        if stage_id in self.selection.force:
            redo_all(self.store, base)
            opened.forget(f"{self.store.url}/{base}")
        return base

    def _left_out(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> Handle:
        cached = opened.cached(stage_of(stage_id), config, taken, self.store)
        if cached is None:
            return LeftOut(frozenset({stage_id}))
        self.recording.left_out(stage_id, config, cached)
        self.made[stage_id] = cached
        return cached

    def _run(self, stage_id: str, base: str, config: Section, taken: Mapping[str, Source]) -> Artifact:
        job = Job(stage_of(stage_id), config, taken, self.store, self.chain.recipe.performance)
        reason = None if self.recording.has(stage_id, base) else self._reason(stage_id, config, taken)
        last = read_ref(self.store, self.chain.recipe.name, stage_id) if job.stage.name == "evaluate" else None
        with self._telling_of_budget(stage_id, base):
            if self.recording.purse and reason is not None:
                self._require_affordable(stage_id, config, taken)
            with self.recording.stage(stage_id, base, config, taken, reason) as made, tags(*stage_tags(stage_id, base)):
                artifact, cached = self._placed(stage_id, job)
                made(artifact, cached)
        if not cached:
            tell_if_worse(stage_id, last, artifact, self.recording.behalf, self.chain.algorithm.roles)
        self.made[stage_id] = artifact
        return artifact

    def _reason(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> str:
        if stage_id in self.selection.force:
            return "asked for (--force)"
        return self._planner.reason(stage_id, config, taken)

    @contextmanager
    def _telling_of_budget(self, stage_id: str, base: str) -> Iterator[None]:
        try:
            yield
        except OverBudget as error:
            with mirrored(stage_id, self.recording.behalf) as mirror:
                mirror.over_budget(base, error)
            raise

    def _require_affordable(self, stage_id: str, config: Section, taken: Mapping[str, Source]) -> None:
        self._planner(stage_id, config, **taken)
        line = self._planner.stages[-1]
        if line.state != "cached":
            expected_s = None if line.device_days is None else line.device_days * DAY_S
            spent = [*self.recording.spent.values()]
            self.recording.purse.require_before(stage_id, expected_s, line.device, spent)

    def _placed(self, stage_id: str, job: Job) -> tuple[Artifact, bool]:
        """The artifact, made where the recipe's placement says, and whether it had been made before."""
        place = place_of(self.chain.recipe, stage_id)
        if place.pool is None or opened.cached(job.stage, job.config, job.inputs, job.store) is not None:
            return _done_here(stage_id, job, place.gpus)
        return sent_away(Errand(stage_id, job, place, self.recording.record)), False


def _done_here(stage_id: str, job: Job, gpus: int) -> tuple[Artifact, bool]:
    """The stage done as a flow of its own in this process, and whether it had been done before."""
    state = STAGE_FLOWS[job.stage.name](
        config=job.config,
        inputs={role: source.uri for role, source in job.inputs.items()},
        store=job.store.url,
        performance=job.performance,
        name=stage_id,
        gpus=gpus,
        return_state=True,
    )
    assert isinstance(state, State)
    return opened.find(job.store, state.result()), state.name == "Cached"


@contextmanager
def recorded(
    chain: Chain,
    store: Store,
    choice: Choice = EVERYTHING,
    alarm: Callable[[], None] = lambda: None,
    overrides: Sequence[str] = (),
) -> Iterator[Runner]:
    """A runner of the chosen stages whose run record tells how the block ended.

    `alarm` is asked now and then; it raises when there is no sense in going on. `overrides` are what the recipe is one
    with; the record has of them what may be repeated.
    """
    selection = select(chain, choice)
    with opened.remembering():
        before = made_before(chain, store, but=selection.force)
        purse = Purse(chain.recipe.budget, read_site())
        with recording(store, chain.recipe.name, alarm, before, _origin(chain, overrides), purse) as record:
            yield Runner(chain, store, record, selection)


def _origin(chain: Chain, overrides: Sequence[str]) -> Origin:
    """What a run of the chain starts from: its overrides and what lies ready, by name and by content."""
    teacher, digests = chain.teacher(), {one: sources.given(one.tree, one.path).digest for one in chain.given()}
    return Origin(
        given=given_name([(one.tree, digest) for one, digest in digests.items()]),
        overrides=[public(one) for one in overrides],
        teacher=teacher.path if teacher else None,
        teacher_digest=digests[Given("model", teacher.address)] if teacher else None,
    )
