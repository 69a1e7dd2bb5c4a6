"""An algorithm: a function of a recipe and of what "do" means, with the roles and the claims of what it makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from infra.recipe import Section
from tasks.claims import Claim, StepwiseClaim
from tasks.roles import Role
from tasks.sections import Recipe

Handle = TypeVar("Handle")


class Do(Protocol[Handle]):
    """How a stage is done. A handle stands for an artifact; the algorithm only passes it on."""

    def __call__(self, stage: str, config: Section, /, **inputs: Handle | None) -> Handle:
        """Do the stage of this id: a stage's name, perhaps with a suffix (`pairs-1`). None is no input."""
        ...

    def given(self, tree: str, path: str) -> Handle:
        """What lies ready: the tree "model", "clip", "coco" or "pictures" at `path`; "mini" is the embedded one."""
        ...


@dataclass(frozen=True)
class Algorithm:
    """One file of this folder, by its name. `function(recipe, do)` returns the handles of what the algorithm is for.

    `usual` is the bundled recipe that is run where none is named.
    """

    name: str
    does: str
    recipe: type[Recipe]
    function: Callable[[Any, Do[Any]], Any] = field(repr=False)
    roles: tuple[Role, ...] = ()
    claims: tuple[Claim | StepwiseClaim, ...] = ()
    usual: str = "mini"
