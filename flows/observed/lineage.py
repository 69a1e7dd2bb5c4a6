"""What was made from what: the neighbourhood of an artifact as a picture of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup, escape

from flows.observed.reading import Seen
from flows.page_names import card_path
from infra.artifact.manifest import InputRecord
from infra.upkeep.inventory import base_in
from infra.upkeep.runs import RunRecord

UP, DOWN, AT_ONCE = 3, 2, 6
"""Levels shown before and after an artifact, and artifacts of a level."""
WIDTH, HEIGHT, ACROSS, BELOW = 168, 42, 46, 12
_FAR = ' class="far"'


@dataclass(frozen=True)
class Node:
    """An artifact, or a folder that was given, at its place in the picture."""

    base: str | None
    label: str
    detail: str
    x: int
    y: int
    is_there: bool = True

    def svg(self, is_here: bool, root: str) -> str:
        """A box with two lines of text, a link unless it is the artifact itself or no artifact."""
        x, y, kind = self.x, self.y, ' class="here"' if is_here else "" if self.is_there else ' class="gone"'
        box = (
            f"<title>{escape((self.base or self.label)[:120])}</title>"
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7"{kind}/>'
            f'<text x="{x + 11}" y="{y + 18}">{escape(self.label[:20])}</text>'
            f'<text class="detail" x="{x + 11}" y="{y + 33}">{escape(self.detail[:26])}</text>'
        )
        is_link = self.base is not None and not is_here
        return f'<a href="{root}{card_path(self.base or "")}">{box}</a>' if is_link else f"<g>{box}</g>"


@dataclass(frozen=True)
class Edge:
    """From the right side of what was used to the left side of what was made of it; far: over other levels."""

    path: str
    is_far: bool


@dataclass(frozen=True)
class Picture:
    """A neighbourhood, drawn; `left_out` are the artifacts that a level had no room for."""

    width: int
    height: int
    nodes: Sequence[Node]
    edges: Sequence[Edge]
    left_out: int

    def svg(self, base: str, root: str) -> Markup:
        """The picture as SVG whose nodes are links, but for the artifact that it is of; `root` leads to the site's."""
        size = f'width="{self.width}" height="{self.height}" viewBox="0 0 {self.width} {self.height}"'
        edges = "".join(f'<path d="{edge.path}"{_FAR if edge.is_far else ""}/>' for edge in self.edges)
        nodes = "".join(node.svg(node.base == base, root) for node in self.nodes)
        start = f'<svg class="lineage" {size} role="group" aria-label="lineage of {escape(base[:80])}">'
        return Markup(f"{start}{edges}{nodes}</svg>")


@dataclass(frozen=True)
class Input:
    """What an artifact was made from: an artifact of this store by its base, or a folder that was given."""

    record: InputRecord
    base: str | None


class Lineage:
    """Who was made from whom, among all artifacts of a store."""

    def __init__(self, seen: Seen) -> None:
        self.seen = seen
        self.inputs: Mapping[str, Sequence[Input]] = {
            base: [self._input(record) for record in artifact.manifest.inputs]
            for base, artifact in seen.artifacts.items()
        }

    def _input(self, record: InputRecord) -> Input:
        base = base_in(record.uri)
        return Input(record, base if base in self.seen.artifacts or base in self.seen.broken else None)

    @cached_property
    def made_of(self) -> Mapping[str, Sequence[str]]:
        """What was made of an artifact, by stage/fingerprint."""
        found: dict[str, dict[str, None]] = {}
        for base, inputs in self.inputs.items():
            for one in inputs:
                if one.base:
                    found.setdefault(one.base, {})[base] = None
        return {base: [*others] for base, others in found.items()}

    @cached_property
    def made_by(self) -> Mapping[str, Sequence[RunRecord]]:
        """The runs that made or used an artifact, the newest first."""
        found: dict[str, list[RunRecord]] = {}
        for run in self.seen.runs:
            for base in dict.fromkeys(stage.artifact for stage in run.stages):
                found.setdefault(base, []).append(run)
        return found

    @cached_property
    def before(self) -> Mapping[str, str]:
        """What a recipe's run had in the place of an artifact, before it first had that artifact."""
        found: dict[str, str] = {}
        last: dict[tuple[str, str], str] = {}
        for run in reversed(self.seen.runs):
            for stage in run.stages:
                place, base = (run.recipe, stage.stage), stage.artifact
                if base not in self.seen.artifacts:
                    continue
                if last.get(place, base) != base:
                    found.setdefault(base, last[place])
                last[place] = base
        return found

    def work_s(self, base: str) -> float:
        """Work of an artifact and of all it was made from, each once, s; 0 for what is none of the store."""
        waiting, counted = [base], dict[str, float]()
        while waiting:
            one = waiting.pop()
            if one in self.seen.artifacts and one not in counted:
                counted[one] = self.seen.artifacts[one].manifest.seconds
                waiting += [source.base for source in self.inputs[one] if source.base]
        return sum(counted.values())

    def picture(self, base: str) -> Picture:
        """The artifact in the middle, what it was made from to its left, what was made of it to its right."""
        columns, left_out = {0: [base]}, 0
        for step, levels in ((-1, UP), (1, DOWN)):
            drawn = {base}
            for level in range(step, step * (levels + 1), step):
                found = [one for one in self._next(columns[level - step], step) if one not in drawn]
                if not found:
                    break
                columns[level] = found[:AT_ONCE]
                left_out += len(found) - len(columns[level])
                drawn.update(found)
        nodes = {one: node for level, column in columns.items() for one, node in self._placed(level, column, columns)}
        edges = sorted(self._edges(nodes), key=lambda edge: not edge.is_far)
        return Picture(
            width=max(node.x for node in nodes.values()) + WIDTH + 2,
            height=max(node.y for node in nodes.values()) + HEIGHT + 2,
            nodes=[*nodes.values()],
            edges=edges,
            left_out=left_out,
        )

    def _next(self, column: Iterable[str], step: int) -> Iterator[str]:
        found: dict[str, None] = {}
        for base in column:
            if step > 0:
                found |= dict.fromkeys(self.made_of.get(base, ()))
            else:
                found |= {one.base or one.record.uri: None for one in self.inputs.get(base, ())}
        return iter(found)

    def _placed(
        self, level: int, column: Sequence[str], columns: Mapping[int, Sequence[str]]
    ) -> Iterator[tuple[str, Node]]:
        tallest = max(map(len, columns.values()))
        top = (tallest - len(column)) * (HEIGHT + BELOW) // 2
        for number, one in enumerate(column):
            x = 1 + (level - min(columns)) * (WIDTH + ACROSS)
            yield one, self._node(one, x, 1 + top + number * (HEIGHT + BELOW))

    def _node(self, one: str, x: int, y: int) -> Node:
        artifact = self.seen.artifacts.get(one)
        if artifact is not None:
            rows = artifact.manifest.rows
            detail = artifact.base.partition("/")[2][:8] + (f", {rows:,} rows" if rows else "")
            return Node(one, artifact.stage, detail, x, y)
        if one in self.seen.broken:
            return Node(one, one.partition("/")[0], "damaged manifest", x, y, is_there=False)
        return Node(None, one.rstrip("/").rpartition("/")[2], "given, or no longer here", x, y, is_there=False)

    def _edges(self, nodes: Mapping[str, Node]) -> Iterator[Edge]:
        for base, node in nodes.items():
            for one in self.inputs.get(base, ()):
                source = nodes.get(one.base or one.record.uri)
                if source is not None and source.x < node.x:
                    yield Edge(_curve(source, node), node.x - source.x > WIDTH + ACROSS)


def _curve(a: Node, b: Node) -> str:
    x0, y0, x1, y1 = a.x + WIDTH, a.y + HEIGHT // 2, b.x, b.y + HEIGHT // 2
    half = (x1 - x0) // 2 if x1 - x0 < 2 * ACROSS else ACROSS
    return f"M{x0} {y0}C{x0 + half} {y0} {x1 - half} {y1} {x1} {y1}"
