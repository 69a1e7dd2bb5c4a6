"""A recipe's chain: the algorithm is walked once, and plan, selection, diagnosis and run look at what it asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.algorithms.algorithm import Algorithm, Do
from infra.recipe import Section
from tasks.sections import Recipe, TeacherSource
from tasks.stages import Stage, stage_of


@dataclass(frozen=True)
class Given:
    """What lies ready: the tree "model", "clip", "coco" or "pictures" at `path`."""

    tree: str
    path: str


@dataclass(frozen=True)
class Node:
    """One stage as the algorithm asked for it. An input is the id of another stage or what lies ready."""

    id: str
    config: Section
    inputs: Mapping[str, str | Given]

    @property
    def stage(self) -> Stage:
        """Its row in the table."""
        return stage_of(self.id)


@dataclass(frozen=True)
class Chain:
    """Every stage of a recipe, in an order in which they can be done."""

    algorithm: Algorithm
    recipe: Recipe
    nodes: Mapping[str, Node]

    @classmethod
    def of(cls, algorithm: Algorithm, recipe: Recipe) -> Chain:
        """Walk the algorithm."""
        walk = _Walk()
        algorithm.function(recipe, walk)
        return cls(algorithm, recipe, walk.nodes)

    def replay(self, do: Do[Any]) -> dict[str, Any]:
        """Ask `do` for every stage as the algorithm did; its handles by stage id."""
        handles: dict[str, Any] = {}
        ready = {one: do.given(one.tree, one.path) for one in self.given()}  # first, so that none is missed later
        for node in self.nodes.values():
            inputs = {
                role: ready[source] if isinstance(source, Given) else handles[source]
                for role, source in node.inputs.items()
            }
            handles[node.id] = do(node.id, node.config, **inputs)
        return handles

    def given(self) -> Iterator[Given]:
        """What lies ready, each once."""
        sources = (source for node in self.nodes.values() for source in node.inputs.values())
        yield from dict.fromkeys(source for source in sources if isinstance(source, Given))

    def ancestors(self) -> dict[str, frozenset[str]]:
        """By stage id, in the order of the chain: the stages each stage is made from, directly or not."""
        found: dict[str, frozenset[str]] = {}
        for node in self.nodes.values():
            direct = frozenset(source for source in node.inputs.values() if isinstance(source, str))
            found[node.id] = direct.union(*(found[one] for one in direct))
        return found

    def teacher(self) -> TeacherSource | None:
        """The teacher that lies ready; None where the recipe names none or trains its own."""
        ready = [one.path for one in self.given() if one.tree == "model"]
        named = (section for _, section in self.recipe if isinstance(section, TeacherSource))
        return next((one for one in named if one.address in ready), None)

    def model(self, role: str) -> str | Given | None:
        """Where the model of a role comes from: what the evaluation takes as it. None for a role that is not there."""
        evaluated = (node for node in self.nodes.values() if node.stage.name == "evaluate")
        inputs = {row.name: row.input for row in self.algorithm.roles}
        return next((node.inputs.get(inputs.get(role, "")) for node in evaluated), None)


@dataclass
class _Walk:
    """The `Do` that notes what it is asked for. A handle is an input of a node."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def given(self, tree: str, path: str) -> str | Given:
        return Given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: str | Given | None) -> str | Given:
        taken = {role: source for role, source in inputs.items() if source is not None}
        assert stage_id not in self.nodes, f"two stages of one id: {stage_id}"
        self.nodes[stage_id] = Node(stage_id, config.located(), taken)
        return stage_id
