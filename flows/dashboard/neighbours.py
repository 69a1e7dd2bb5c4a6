"""The neighbourhood of an artifact as a picture of bounded size: what it was made from, what was made of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from flows.observed.lineage import Lineage
from flows.page_names import card_path

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


def drawn(lineage: Lineage, base: str) -> Picture:
    """The artifact in the middle, what it was made from to its left, what was made of it to its right."""
    columns, left_out = {0: [base]}, 0
    for step, levels in ((-1, UP), (1, DOWN)):
        shown = {base}
        for level in range(step, step * (levels + 1), step):
            found = [one for one in _next(lineage, columns[level - step], step) if one not in shown]
            if not found:
                break
            columns[level] = found[:AT_ONCE]
            left_out += len(found) - len(columns[level])
            shown.update(found)
    nodes = {one: node for level, column in columns.items() for one, node in _placed(lineage, level, column, columns)}
    edges = sorted(_edges(lineage, nodes), key=lambda edge: not edge.is_far)
    return Picture(
        width=max(node.x for node in nodes.values()) + WIDTH + 2,
        height=max(node.y for node in nodes.values()) + HEIGHT + 2,
        nodes=[*nodes.values()],
        edges=edges,
        left_out=left_out,
    )


def _next(lineage: Lineage, column: Iterable[str], step: int) -> Iterator[str]:
    found: dict[str, None] = {}
    for base in column:
        if step > 0:
            found |= dict.fromkeys(lineage.made_of.get(base, ()))
        else:
            found |= {one.base or one.record.uri: None for one in lineage.inputs.get(base, ())}
    return iter(found)


def _placed(
    lineage: Lineage, level: int, column: Sequence[str], columns: Mapping[int, Sequence[str]]
) -> Iterator[tuple[str, Node]]:
    tallest = max(map(len, columns.values()))
    top = (tallest - len(column)) * (HEIGHT + BELOW) // 2
    for number, one in enumerate(column):
        x = 1 + (level - min(columns)) * (WIDTH + ACROSS)
        yield one, _node(lineage, one, x, 1 + top + number * (HEIGHT + BELOW))


def _node(lineage: Lineage, one: str, x: int, y: int) -> Node:
    artifact = lineage.seen.artifacts.get(one)
    if artifact is not None:
        rows = artifact.manifest.rows
        detail = artifact.base.partition("/")[2][:8] + (f", {rows:,} rows" if rows else "")
        return Node(one, artifact.stage, detail, x, y)
    if one in lineage.seen.broken:
        return Node(one, one.partition("/")[0], "damaged manifest", x, y, is_there=False)
    return Node(None, one.rstrip("/").rpartition("/")[2], "given, or no longer here", x, y, is_there=False)


def _edges(lineage: Lineage, nodes: Mapping[str, Node]) -> Iterator[Edge]:
    for base, node in nodes.items():
        for one in lineage.inputs.get(base, ()):
            source = nodes.get(one.base or one.record.uri)
            if source is not None and source.x < node.x:
                yield Edge(_curve(source, node), node.x - source.x > WIDTH + ACROSS)


def _curve(a: Node, b: Node) -> str:
    x0, y0, x1, y1 = a.x + WIDTH, a.y + HEIGHT // 2, b.x, b.y + HEIGHT // 2
    half = (x1 - x0) // 2 if x1 - x0 < 2 * ACROSS else ACROSS
    return f"M{x0} {y0}C{x0 + half} {y0} {x1 - half} {y1} {x1} {y1}"
