"""The pages of the artifacts: lists by stage and by how they stand, and one card each."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from flows.dashboard.facets import Facet, facet
from flows.dashboard.neighbours import drawn
from flows.dashboard.pairs import newest
from flows.dashboard.render import facts, paged, render
from flows.observed.known import Known
from flows.observed.lineage import Input
from flows.page_names import card_path, report_path
from infra.artifact import Artifact
from infra.artifact.manifest import Manifest
from infra.artifact.names import Naming
from infra.artifact.redo import Redo
from infra.upkeep.inventory import Pin
from infra.upkeep.runs import changed_fields
from tasks.stages import STAGES

AT_ONCE = 100
FILES, FIELDS, LACKING, NAMES = 50, 200, 5, 20
"""Files, fields, damages, names and former names that a card shows."""


@dataclass(frozen=True)
class Line:
    """An artifact in a list, whole or not."""

    base: str
    state: str
    bytes: int
    files: int
    wanted: Sequence[str]
    pin: Pin | None
    marks: Sequence[Redo]
    problem: str | None
    artifact: Artifact | None
    store: str

    @property
    def stage(self) -> str:
        """The stage that makes it."""
        return self.base.partition("/")[0]

    @property
    def does(self) -> str:
        """What the stage does."""
        return STAGES[self.stage].does if self.stage in STAGES else "Artifact"

    @property
    def finished_at(self) -> str | None:
        """When its manifest was written."""
        return self.artifact.manifest.finished_at if self.artifact else None

    @property
    def rows(self) -> int | None:
        """Samples in it."""
        return self.artifact.manifest.rows if self.artifact else None

    @property
    def seconds(self) -> float | None:
        """Work, s."""
        return self.artifact.manifest.seconds if self.artifact else None

    @property
    def digest(self) -> str:
        """Of its content."""
        return self.artifact.digest if self.artifact else ""

    @property
    def commands(self) -> list[str]:
        """How to get at it from a terminal."""
        base, where = shlex.quote(self.base), f"--store {shlex.quote(self.store)}"
        found = [f"instaflow artifacts show {base} {where}"]
        if self.stage == "pairs":
            found += [f"instaflow artifacts urls {base} {where}"]
        if self.stage in STAGES and STAGES[self.stage].tree:
            found += [f"instaflow export {base} FOLDER {where}"]
        return [*found, f"instaflow artifacts cp {base} OTHER_STORE {where}"]

    @property
    def python(self) -> str:
        """How to get at it from Python, in three lines."""
        if self.stage == "pairs":
            where = json.dumps(f"{self.store}/{self.base}")
            return f"from infra.pairs import PairDataset\n\npairs = PairDataset({where})"
        store, base = json.dumps(self.store), json.dumps(self.base)
        return (
            "from infra.artifact import Artifact\nfrom infra.store import open_store\n"
            f"found = Artifact.find(open_store({store}), {base})  # found.fetch(NAME), found.folder(NAME)"
        )


def artifact_pages(known: Known) -> Iterator[tuple[str, bytes]]:
    """Path and content of every page that is about artifacts; lists after the cards."""
    lines, looks = _lines(known), {page.artifact.base: page.path for page in newest(known)}
    for line in lines:
        yield card_path(line.base), _card(known, line, looks.get(line.base))
    facets = (
        facet("stage", "artifacts-of", lines, lambda line: line.stage),
        facet("stands", "artifacts-that-are", lines, lambda line: line.state),
    )
    for one in facets:
        for value in one.values:
            yield from _list(known, value.items, value.stem, facets, value.name)
    yield from _list(known, lines, "artifacts", facets)


def _list(
    known: Known, lines: Sequence[Line], stem: str, facets: Sequence[Facet[Line]], of: str = ""
) -> Iterator[tuple[str, bytes]]:
    for page in paged(lines, stem, AT_ONCE):
        told = {"room": "Artifacts", "known": known, "page": page, "facets": facets, "of": of}
        yield page.path, render("artifacts.html.j2", page.path, **told)


def _lines(known: Known) -> list[Line]:
    """Every artifact: what is not whole first, then the newest."""
    room: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for path, size in known.seen.sizes.items():
        base = "/".join(path.split("/", 2)[:2])
        room[base] += size
        files[base] += 1
    lines = [_line(known, base, room[base], files[base]) for base in sorted(known.cards)]
    return sorted(lines, key=lambda line: line.finished_at or "~", reverse=True)


def _line(known: Known, base: str, size: int, files: int) -> Line:
    seen = known.seen
    marks, artifact = seen.marks.get(base, ()), seen.artifacts.get(base)
    if artifact is None:
        state = "damaged" if base in seen.broken else "unfinished"
    elif marks:
        state = "to be redone"
    else:
        state = "damaged" if seen.lacks(artifact) else "done"
    return Line(
        base=base,
        state=state,
        bytes=sum(file.bytes for file in artifact.manifest.files) if artifact else size,
        files=files,
        wanted=seen.wanted.get(base, ()),
        pin=seen.pins.get(base),
        marks=marks,
        problem=seen.broken.get(base) or known.unreadable.get(base),
        artifact=artifact,
        store=seen.store.url,
    )


def _card(known: Known, line: Line, look: str | None) -> bytes:
    lineage, base = known.lineage, line.base
    manifest = line.artifact.manifest if line.artifact else None
    before = lineage.before.get(base)
    changes = [*changed_fields(known.seen.artifacts[before].manifest.config, manifest.config)] if (
        before and manifest
    ) else []  # fmt: skip
    return render(
        "card.html.j2",
        card_path(base),
        room="Artifacts",
        known=known,
        one=line,
        manifest=manifest,
        look=look,
        called=known.seen.named.get(base, {}),
        called_before=[*_called_before(known, base)],
        names_shown=NAMES,
        report=report_path(base) if known.is_served and manifest and manifest.stage == "report" else None,
        verified=known.seen.verified.get(base),
        lacking=known.seen.lacks(line.artifact)[:LACKING] if line.artifact else (),
        picture=drawn(lineage, base),
        inputs=[(one, _note(known, one)) for one in lineage.inputs.get(base, ())],
        made_of=lineage.made_of.get(base, ()),
        runs=lineage.made_by.get(base, ()),
        previous=before,
        changes=changes[:FIELDS],
        fields=[*_flat(manifest.config)][:FIELDS] if manifest else (),
        measured=[*_flat(manifest.metrics)][:FIELDS] if manifest else (),
        makers=[*_makers(manifest)] if manifest else (),
        files=manifest.files[:FILES] if manifest else (),
    )


def _called_before(known: Known, base: str) -> Iterator[tuple[str, Naming]]:
    """The names that were taken from an artifact, each with what it stands for now."""
    for name, record in known.seen.names.items():
        if record.now.artifact != base and any(one.artifact == base for one in record.history):
            yield name, record.now


def _note(known: Known, one: Input) -> str:
    """What is to be said of an input: whether what lies there now is what was used."""
    if one.base is None:
        return "a folder that was given, or an artifact that is no longer here"
    found = known.seen.artifacts.get(one.base)
    if found is None:
        return "its manifest is damaged"
    return "" if found.digest == one.record.digest else f"redone since: it is {found.digest[:12]} now"


def _flat(values: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """Nested fields by dotted names."""
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _makers(manifest: Manifest) -> Iterator[tuple[int, str]]:
    """How many units each kind of machine made, with what it was."""
    made = Counter(part.environment for part in manifest.units)
    for place, one in enumerate(manifest.environments):
        yield made[place], facts(one)
