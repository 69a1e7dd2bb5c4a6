"""What a run would do and why, told from manifests and the last run's references alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from pydantic import JsonValue

from flows.algorithms.chain import Chain
from flows.run import sources
from flows.run.costs import Site, read_site
from flows.run.expectation import done, expected
from flows.run.price import DAY_S, Price, price, trained
from infra.artifact import Artifact, ArtifactMissing, Draft, Pinned, Source
from infra.artifact.fingerprint import SHORT
from infra.artifact.manifest import Manifest
from infra.artifact.redo import why_redo
from infra.errors import UserError
from infra.recipe import Section
from infra.store import Store, StoreError
from infra.upkeep.runs import Ref, changed_fields, read_ref
from models.flops import ModelCost, model_cost
from tasks.sections import Recipe
from tasks.stage import find_cached, named_files, stage_fingerprint
from tasks.stages import Extent, Stage, stage_of

_LOOK_AT = 8  # earlier artifacts of a stage to take an expectation from, where the recipe has none of its own


@dataclass(frozen=True)
class Planned:
    """One line of a plan. `fingerprint` is None while it depends on a stage that has yet to run.

    `done` of `total` units or steps are there. What is left of it has a price: samples, TFLOP of their networks, days
    of one device (at the rate that the recipe or an earlier run says it has), the device of that run, and what the site
    says that costs. The expectations are the time still to go
    and the size of the artifact when it is finished. None is not known.
    """

    id: str
    stage: str
    state: Literal["cached", "resume", "run"]
    reason: str
    done: int
    total: int
    unit: str
    fingerprint: str | None = None
    artifact: str | None = None
    expected_seconds: float | None = None
    expected_bytes: int | None = None
    samples: int | None = None
    tflop: float | None = None
    device_days: float | None = None
    device: str | None = None
    cost: float | None = None


@dataclass(frozen=True)
class Pending:
    """Stands for an artifact that does not exist yet."""

    stage_id: str


Handle = Source | Pending


def plan(chain: Chain, store: Store) -> list[Planned]:
    """Every stage in the order it would run. Raises UserError for inputs that are not there."""
    planner = Planner(store, chain.recipe, read_site())
    chain.replay(planner)
    return planner.stages


@dataclass
class Planner:
    """The algorithm's `Do` that does nothing and notes what would be done."""

    store: Store
    recipe: Recipe
    site: Site = field(default_factory=Site)
    stages: list[Planned] = field(default_factory=list)
    costs: dict[str, ModelCost] = field(default_factory=dict)
    """Of the models of the chain, by :func:`_name`."""

    def given(self, tree: str, path: str) -> Handle:
        """A folder that lies ready."""
        folder = sources.given(tree, path)
        if tree == "model" and (cost := model_cost(folder.folder(tree))):
            self.costs[_name(folder)] = cost
        return folder

    def __call__(self, stage_id: str, config: Section, /, **inputs: Handle | None) -> Handle:
        made = self._planned(stage_id, config, inputs)
        models = {role: self.costs[_name(one)] for role, one in inputs.items() if one and _name(one) in self.costs}
        if "teacher" in models:
            self.costs[_name(made)] = trained(config, models["teacher"])
        if self.stages[-1].state != "cached":
            self.stages[-1] = self._priced(self.stages[-1], price(config, models))
        return made

    def _priced(self, line: Planned, whole: Price | None) -> Planned:
        """The line with the price of what is left of it."""
        left = 1 - line.done / line.total if line.total else 1
        if whole:
            line = replace(line, samples=round(whole.samples * left), tflop=whole.flop * left / 1e12)
            line = replace(line, expected_bytes=line.expected_bytes or whole.bytes)
        days = self._device_days(line)
        return replace(line, device_days=days, cost=self.site.price(line.device, days and days * DAY_S))

    def _device_days(self, line: Planned) -> float | None:
        """At the recipe's rate, else at that of an earlier run, which was one device's."""
        rate = self.recipe.performance.tflops
        if line.tflop is not None and rate is not None:
            return line.tflop / rate / DAY_S
        return None if line.expected_seconds is None else line.expected_seconds / DAY_S

    def _planned(self, stage_id: str, config: Section, inputs: Mapping[str, Handle | None]) -> Handle:
        stage = stage_of(stage_id)
        named_files(stage, config)  # raises now for a missing file, also where the stage waits for days of others
        pending = {role: handle for role, handle in inputs.items() if isinstance(handle, Pending)}
        ready = {role: one for role, one in inputs.items() if one is not None and not isinstance(one, Pending)}
        reasons = self._changes(stage_id, config, ready, pending)
        work = stage.extent(config, ready.keys() | pending.keys())
        if pending:
            waits = f"waits for {', '.join(handle.stage_id for handle in pending.values())}"
            line = Planned(stage_id, stage.name, "run", "; ".join([*reasons, waits]), 0, work.total, work.unit)
            self.stages.append(self._with_expectation(line, config, work))
            return Pending(stage_id)
        return self._decided(stage_id, stage, config, ready, reasons, work)

    def _decided(
        self,
        stage_id: str,
        stage: Stage,
        config: Section,
        inputs: Mapping[str, Source],
        reasons: list[str],
        work: Extent,
    ) -> Handle:
        """The line of a stage all of whose inputs are there."""
        identity = stage_fingerprint(stage, config, inputs)
        cached = find_cached(stage, config, inputs, self.store)
        if cached is not None:
            reason = "; ".join([*reasons, self._why_cached(stage_id, cached)]) if reasons else "nothing changed"
            count = (work.total, work.total, work.unit)
            self.stages.append(Planned(stage_id, stage.name, "cached", reason, *count, identity, cached.uri))
            return cached
        there = done(Draft(self.store, stage.name, identity), work)
        reason = "; ".join(reasons or [self._gone(stage_id, stage, identity)])
        state: Literal["resume", "run"] = "resume" if there else "run"
        line = Planned(stage_id, stage.name, state, reason, there, work.total, work.unit, identity)
        self.stages.append(self._with_expectation(line, config, work))
        return Pending(stage_id)

    def _with_expectation(self, line: Planned, config: Section, work: Extent) -> Planned:
        earlier = self._earlier(line.id, line.stage, config)
        found = expected(work, earlier) if earlier else None
        if found is None:
            return line
        left = 1 - line.done / line.total
        device = next((one["device"] for one in earlier.environments if "device" in one), None) if earlier else None
        return replace(line, expected_seconds=found.seconds * left, expected_bytes=found.bytes, device=device)

    def _earlier(self, stage_id: str, stage: str, config: Section) -> Manifest | None:
        """What the recipe's last run made of the stage, or else the one most like it in this store."""
        last = read_ref(self.store, self.recipe.name, stage_id)
        if last and (own := _manifest(self.store, last.artifact)):
            return own
        found = [_manifest(self.store, f"{stage}/{name}") for name in self.store.folders(stage)[:_LOOK_AT]]
        fields = config.model_dump(mode="json").items()

        def likeness(one: Manifest) -> tuple[int, str]:
            return sum(one.config.get(name) == value for name, value in fields), one.finished_at

        return max(filter(None, found), key=likeness, default=None)

    def _changes(
        self, stage_id: str, config: Section, ready: Mapping[str, Source], pending: Mapping[str, Pending]
    ) -> list[str]:
        """What differs from the recipe's last run, as far as it is known."""
        last = read_ref(self.store, self.recipe.name, stage_id)
        if last is None:
            return ["first run of this recipe"]
        fields = changed_fields(_keyed(last.config), _keyed(config.identity()))
        found = {**ready, **named_files(stage_of(stage_id), config)}
        return [
            *(f"{name}: {_shown(before)} -> {_shown(after)}" for name, before, after in fields),
            *self._changed_inputs(last, found, pending),
        ]

    def reason(self, stage_id: str, config: Section, inputs: Mapping[str, Source]) -> str:
        """Why a stage is run whose inputs are there. Raises UserError, StoreError."""
        stage = stage_of(stage_id)
        changes = self._changes(stage_id, config, inputs, {})
        return "; ".join(changes or [self._gone(stage_id, stage, stage_fingerprint(stage, config, inputs))])

    def _changed_inputs(self, last: Ref, found: Mapping[str, Pinned], pending: Mapping[str, Pending]) -> Iterator[str]:
        """The inputs whose content is another one, each with the place where it lies."""
        digests = {role: one.digest for role, one in found.items()}
        changed = [
            role for role in sorted({*last.inputs, *found} - {*pending}) if last.inputs.get(role) != digests.get(role)
        ]
        made = _manifest(self.store, last.artifact) if changed else None
        lay = {one.role: self._place(one.uri) for one in made.inputs} if made else {}
        lies = {role: self._place(one.uri) for role, one in found.items()}
        for role in changed:
            before, after = last.inputs.get(role), digests.get(role)
            if role in lies and lay.get(role) == lies[role]:
                yield f"input {role}: {lies[role]}: {_short(before)} -> {_short(after)}"
            else:
                yield f"input {role}: {_at(lay.get(role), before)} -> {_at(lies.get(role), after)}"

    def _place(self, uri: str) -> str:
        """Where something lies; an artifact of this store by its short name."""
        return uri.removeprefix(f"{self.store.url}/")

    def _why_cached(self, stage_id: str, cached: Artifact) -> str:
        last = read_ref(self.store, self.recipe.name, stage_id)
        return "same content" if last is not None and last.artifact == cached.base else "made before"

    def _gone(self, stage_id: str, stage: Stage, identity: str) -> str:
        try:
            return why_redo(Artifact.open(self.store, stage.name, identity)) or "another run has just finished it"
        except ArtifactMissing:
            pass
        last = read_ref(self.store, self.recipe.name, stage_id)
        same = last is not None and last.artifact.endswith(identity[:SHORT])
        return "its artifact is gone from the store" if same else "the stage has a new version"


def _name(handle: Handle) -> str:
    return handle.stage_id if isinstance(handle, Pending) else handle.uri


def _manifest(store: Store, base: str) -> Manifest | None:
    stage, _, name = base.partition("/")
    try:
        return Artifact.open(store, stage, name).manifest
    except StoreError:
        raise
    except UserError:  # not finished, or damaged: it says nothing
        return None


def _keyed(value: JsonValue | Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """A configuration with its lists of sections as mappings, so that they are compared item by item."""
    assert isinstance(value, Mapping)
    return {name: _keyed_item(item) for name, item in value.items()}


def _keyed_item(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return _keyed(value)
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        return {str(position): _keyed_item(item) for position, item in enumerate(value)}
    return value


def _shown(value: JsonValue) -> str:
    return "nothing" if value is None else str(value)


def _at(place: str | None, digest: str | None) -> str:
    return f"{place} ({_short(digest)})" if place is not None else _short(digest)


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "nothing"
