"""What a run would do and why, told from manifests and the last run's references alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from flows import sources
from flows.algorithm import instaflow
from flows.stages import Stage, stage_of
from infra.artifact import Draft, Source
from infra.fingerprint import SHORT
from infra.recipe import Recipe, Section
from infra.runs import Ref, changed_fields, read_ref
from infra.store import Store
from tasks.stage import find_cached, named_files, stage_fingerprint

_CHECKPOINT = re.compile(r"/checkpoints/step-(\d+)")


@dataclass(frozen=True)
class Planned:
    """One line of a plan. `fingerprint` is None while it depends on a stage that has yet to run."""

    id: str
    stage: str
    state: Literal["cached", "resume", "run"]
    reason: str
    fingerprint: str | None = None
    artifact: str | None = None


@dataclass(frozen=True)
class Pending:
    """Stands for an artifact that does not exist yet."""

    stage_id: str


Handle = Source | Pending


def plan(recipe: Recipe, store: Store) -> list[Planned]:
    """Every stage in the order it would run. Raises UserError for inputs that are not there."""
    planner = Planner(store, recipe.name)
    instaflow(recipe, planner)
    return planner.stages


@dataclass
class Planner:
    """The algorithm's `Do` that does nothing and notes what would be done."""

    store: Store
    recipe_name: str
    stages: list[Planned] = field(default_factory=list)

    def given(self, tree: str, path: str) -> Handle:
        """A folder that lies ready."""
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Handle | None) -> Handle:
        stage = stage_of(stage_id)
        pending = {role: handle for role, handle in inputs.items() if isinstance(handle, Pending)}
        ready = {role: one for role, one in inputs.items() if one is not None and not isinstance(one, Pending)}
        reasons = self._changes(stage_id, config, ready, pending)
        if pending:
            waits = f"waits for {', '.join(handle.stage_id for handle in pending.values())}"
            self.stages.append(Planned(stage_id, stage.name, "run", "; ".join([*reasons, waits])))
            return Pending(stage_id)
        return self._decided(stage_id, stage, config, ready, reasons)

    def _decided(
        self, stage_id: str, stage: Stage, config: Section, inputs: Mapping[str, Source], reasons: list[str]
    ) -> Handle:
        """The line of a stage all of whose inputs are there."""
        identity = stage_fingerprint(stage.name, stage.version, config, inputs)
        cached = find_cached(stage.name, stage.version, config, inputs, self.store)
        if cached is not None:
            reason = "; ".join([*reasons, "made before"]) if reasons else "nothing changed"
            self.stages.append(Planned(stage_id, stage.name, "cached", reason, identity, cached.uri))
            return cached
        begun = _begun(self.store, stage, identity)
        reason = "; ".join([*begun, *(reasons or [self._gone(stage_id, identity)])])
        self.stages.append(Planned(stage_id, stage.name, "resume" if begun else "run", reason, identity))
        return Pending(stage_id)

    def _changes(
        self, stage_id: str, config: Section, ready: Mapping[str, Source], pending: Mapping[str, Pending]
    ) -> list[str]:
        """What differs from the recipe's last run, as far as it is known."""
        last = read_ref(self.store, self.recipe_name, stage_id)
        if last is None:
            return ["first run of this recipe"]
        fields = changed_fields(_keyed(last.config), _keyed(config.identity()))
        digests = {role: source.digest for role, source in {**ready, **named_files(config)}.items()}
        return [
            *(f"{name}: {_shown(before)} -> {_shown(after)}" for name, before, after in fields),
            *_changed_inputs(last, digests, pending),
        ]

    def _gone(self, stage_id: str, identity: str) -> str:
        last = read_ref(self.store, self.recipe_name, stage_id)
        same = last is not None and last.artifact.endswith(identity[:SHORT])
        return "its artifact is gone from the store" if same else "the stage has a new version"


def _changed_inputs(last: Ref, digests: Mapping[str, str], pending: Mapping[str, Pending]) -> Iterator[str]:
    for role in sorted({*last.inputs, *digests} - {*pending}):
        before, after = last.inputs.get(role), digests.get(role)
        if before != after:
            yield f"input {role}: {_short(before)} -> {_short(after)}"


def _begun(store: Store, stage: Stage, identity: str) -> list[str]:
    """What an interrupted run of exactly this left behind: units and the last checkpoint."""
    draft = Draft(store, stage.name, identity)
    units = len(draft.units())
    steps = [int(found[1]) for path in store.list(draft.base) if (found := _CHECKPOINT.search(path))]
    done = [f"{units} units are there"] if units else []
    return done + ([f"there is a checkpoint at step {max(steps)}"] if steps else [])


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


def _short(digest: str | None) -> str:
    return digest[:12] if digest else "nothing"
