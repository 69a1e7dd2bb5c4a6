"""Which stages of a recipe a run does: `--only`, `--from`, `--until`, `--force`, by stage name or id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from flows.algorithm import instaflow
from flows.planner import plan
from flows.stages import stage_of
from infra.errors import UserError
from infra.recipe import Recipe, Section
from infra.store import Store

Names = tuple[str, ...]


class Choice(Section):
    """What the user asks for. A name (`pairs`) stands for all stages of that name, an id (`pairs-1`) for one."""

    only: Names = Field(default=(), strict=False, description="run these stages and no others")
    start: Names = Field(default=(), strict=False, description="--from: leave out what these are made from")
    until: Names = Field(default=(), strict=False, description="run these stages and what they are made from")
    force: Names = Field(default=(), strict=False, description="redo these stages even where they are cached")


EVERYTHING = Choice()


@dataclass(frozen=True)
class Selection:
    """Ids of the stages that are run, and of those that are redone even where they are cached."""

    run: frozenset[str]
    force: frozenset[str]


@dataclass
class _Ancestors:
    """The algorithm's `Do` that learns which stages each stage is made from. A handle is a set of stage ids."""

    of: dict[str, frozenset[str]] = field(default_factory=dict)

    def given(self, tree: str, path: str) -> frozenset[str]:
        return frozenset()

    def __call__(self, stage_id: str, config: Section, /, **inputs: frozenset[str] | None) -> frozenset[str]:
        nothing: frozenset[str] = frozenset()
        self.of[stage_id] = nothing.union(*(ids for ids in inputs.values() if ids))
        return self.of[stage_id] | {stage_id}


def ancestors(recipe: Recipe) -> dict[str, frozenset[str]]:
    """By stage id, in the order of the chain: the stages each stage is made from, directly or not."""
    chain = _Ancestors()
    instaflow(recipe, chain)
    return chain.of


def select(recipe: Recipe, choice: Choice = EVERYTHING) -> Selection:
    """The stages of the recipe that `choice` names. Raises UserError for unknown names and an empty choice.

    `until` takes a stage and its ancestors; `start` leaves out the ancestors, but not what lies between two of its
    own; `only` takes just these. A stage that is left out has to be cached where another needs it.
    """
    chain = ancestors(recipe)
    run = frozenset(chain)
    if choice.only:
        run &= _ids(choice.only, chain, "--only")
    if choice.until:
        run &= _with_ancestors(_ids(choice.until, chain, "--until"), chain)
    if choice.start:
        run -= _before(_ids(choice.start, chain, "--from"), chain)
    if not run:
        raise UserError("--only, --from and --until: no stage is in all of them. See the chain: instaflow plan.")
    force = _ids(choice.force, chain, "--force")
    if left := force - run:
        raise UserError(f"--force: {', '.join(sorted(left))} is left out of this run. Name it in --only or drop that.")
    return Selection(run, force)


def require_inputs(recipe: Recipe, store: Store, selection: Selection) -> None:
    """Raise UserError if a stage of the selection needs one that is left out and, as far as is known, not cached.

    A left-out stage below one that has yet to run is found when its turn comes.
    """
    chain = ancestors(recipe)
    if selection.run == chain.keys():
        return
    lines = plan(recipe, store)
    absent = {line.id for line in lines if line.state != "cached" and line.fingerprint} - selection.run
    for stage_id in chain:
        if stage_id in selection.run and (missing := absent & chain[stage_id]):
            raise needed(stage_id, missing, recipe.name, store)


def _with_ancestors(ids: frozenset[str], chain: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return ids.union(*(chain[one] for one in ids))


def _before(ids: frozenset[str], chain: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Ancestors of `ids` that are not made from any of them."""
    before = _with_ancestors(ids, chain) - ids
    return frozenset(one for one in before if not chain[one] & ids)


def _ids(names: Iterable[str], chain: Mapping[str, object], option: str) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        ids = {one for one in chain if name in (one, stage_of(one).name)}
        if not ids:
            known = sorted({*chain, *(stage_of(one).name for one in chain)})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"{option} {name}: this recipe has no such stage; expected {', '.join(chain)}.{hint}")
        found |= ids
    return frozenset(found)


def needed(stage_id: str, absent: Iterable[str], recipe: str, store: Store) -> UserError:
    """The error of a stage that needs stages which are left out of the run and have not been made."""
    first, *_ = names = sorted(absent)
    verb = "is" if len(names) == 1 else "are"
    return UserError(
        f"stage {stage_id} needs {', '.join(names)}, which {verb} left out of this run and not in {store.url}."
        f" Make it first (instaflow run {recipe} --until {first}, with the same --set and --store) or leave it in."
    )
