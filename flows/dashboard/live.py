"""A training under way: its loss so far, and how it draws a few of its own pairs; read beside its checkpoints."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from markupsafe import Markup

from flows.dashboard import charts
from flows.observed.known import Known
from tasks.stages import CURVE_FILE, GLANCE_FILE, GLANCES_FILE

_FOLDER = re.compile(r"^[^/]+/[^/]+/(?:.+/)?checkpoints/([^/]+)/[^/]+$")
_LARGEST = 16 << 20
_NEWEST = 4


@dataclass(frozen=True)
class Live:
    """What a phase of a training shows of itself; `picture` is where its last drawing lies in the site."""

    phase: str
    figures: Sequence[tuple[str, Markup]]
    picture: str | None
    drawing: bytes | None


def live(known: Known, base: str) -> list[Live]:
    """The phases of a training that is under way, by name; nothing of what cannot be read. Raises StoreError."""
    paths = [path for path in known.seen.sizes if path.startswith(f"{base}/") and _FOLDER.match(path)]
    folders = sorted({path.rpartition("/")[0] for path in paths if path.endswith((CURVE_FILE, GLANCES_FILE))})
    return [_live(known, folder) for folder in folders[-_NEWEST:]]


def _live(known: Known, folder: str) -> Live:
    drawing = _read(known, f"{folder}/{GLANCE_FILE}")
    is_picture = drawing is not None and drawing[:4] == b"RIFF" and drawing[8:12] == b"WEBP"
    picture = f"pictures/{hashlib.sha256(drawing).hexdigest()[:16]}-glance.webp" if drawing and is_picture else None
    return Live(folder.rpartition("/")[2], [*_figures(known, folder)], picture, drawing if picture else None)


def _figures(known: Known, folder: str) -> Iterator[tuple[str, Markup]]:
    for file, column, told in (
        (CURVE_FILE, "loss", "loss"),
        (GLANCES_FILE, "distance_to_own_teacher", "distance to its own teacher, in one step, on a few of its pairs"),
    ):
        line = charts.thinned(_line(known, f"{folder}/{file}", column))
        if svg := charts.lines(told, [(told, line)], "step", column):
            yield f"{told}: {line[-1][1]:.4g} at step {line[-1][0]:,.0f}", svg


def _line(known: Known, path: str, column: str) -> list[tuple[float, float]]:
    data = _read(known, path)
    if data is None:
        return []
    try:
        rows = pq.read_table(pa.BufferReader(data), columns=["step", column]).to_pydict()
        return [(float(at), float(value)) for at, value in zip(rows["step"], rows[column], strict=True)]
    except (pa.ArrowException, KeyError, TypeError, ValueError):  # of no training of ours
        return []


def _read(known: Known, path: str) -> bytes | None:
    if not 0 < known.seen.sizes.get(path, 0) <= _LARGEST:
        return None
    try:
        return known.seen.store.read(path)
    except FileNotFoundError:  # the training has ended meanwhile
        return None
