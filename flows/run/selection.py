"""Which stages of a recipe a run does: `--only`, `--from`, `--until`, `--force`, by stage name or id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import Field

from flows.algorithms.chain import Chain
from flows.run.planner import plan
from infra.errors import UserError
from infra.recipe import Section
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


def select(chain: Chain, choice: Choice = EVERYTHING) -> Selection:
    """The stages of the chain that `choice` names. Raises UserError for unknown names and an empty choice.

    `until` takes a stage and its ancestors; `start` leaves out the ancestors, but not what lies between two of its
    own; `only` takes just these. A stage that is left out has to be cached where another needs it.
    """
    ancestors = chain.ancestors()
    run = frozenset(ancestors)
    if choice.only:
        run &= _ids(choice.only, chain, "--only")
    if choice.until:
        run &= _with_ancestors(_ids(choice.until, chain, "--until"), ancestors)
    if choice.start:
        run -= _before(_ids(choice.start, chain, "--from"), ancestors)
    if not run:
        raise UserError("--only, --from and --until: no stage is in all of them. See the chain: instaflow plan.")
    force = _ids(choice.force, chain, "--force")
    if left := force - run:
        raise UserError(f"--force: {', '.join(sorted(left))} is left out of this run. Name it in --only or drop that.")
    return Selection(run, force)


def require_inputs(chain: Chain, store: Store, selection: Selection) -> None:
    """Raise UserError if a stage of the selection needs one that is left out and, as far as is known, not cached.

    A left-out stage below one that has yet to run is found when its turn comes.
    """
    if selection.run == chain.nodes.keys():
        return
    lines = plan(chain, store)
    absent = {line.id for line in lines if line.state != "cached" and line.fingerprint} - selection.run
    for stage_id, needs in chain.ancestors().items():
        if stage_id in selection.run and (missing := absent & needs):
            raise needed(stage_id, missing, chain.recipe.name, store)


def _with_ancestors(ids: frozenset[str], ancestors: Mapping[str, frozenset[str]]) -> frozenset[str]:
    return ids.union(*(ancestors[one] for one in ids))


def _before(ids: frozenset[str], ancestors: Mapping[str, frozenset[str]]) -> frozenset[str]:
    """Ancestors of `ids` that are not made from any of them."""
    before = _with_ancestors(ids, ancestors) - ids
    return frozenset(one for one in before if not ancestors[one] & ids)


def _ids(names: Iterable[str], chain: Chain, option: str) -> frozenset[str]:
    found: set[str] = set()
    for name in names:
        ids = {node.id for node in chain.nodes.values() if name in (node.id, node.stage.name)}
        if not ids:
            known = sorted({*chain.nodes, *(node.stage.name for node in chain.nodes.values())})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UserError(f"{option} {name}: this recipe has no such stage; expected {', '.join(chain.nodes)}.{hint}")
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
