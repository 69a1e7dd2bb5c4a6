"""Prompt lists in the formats that people have, for the tests."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

_THINGS = "otter violin glacier teapot comet harbour beetle orchard lantern cathedral walrus accordion".split()
_MANNERS = "sleeping burning golden tiny ancient floating broken striped frozen singing".split()
_PLACES = "desert library subway greenhouse volcano market attic meadow canal observatory".split()
_STYLES = "watercolour engraving photograph mosaic sketch fresco collage etching poster tapestry".split()


def sentences(count: int, seed: int = 0) -> list[str]:
    """Distinct prompts: no two nearly the same for counts of a few hundred."""
    chance, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        (one, other), count_of = chance.sample(_THINGS, 2), chance.randrange(9999)
        style, manner, where = map(chance.choice, (_STYLES, _MANNERS, _PLACES))
        found[f"{style}: {manner} {one} in a {where} with {count_of} {other}s"] = None
    return [*found]


def laion(texts: list[str | None], seed: int = 0) -> dict[str, list[Any]]:
    """Columns of LAION-2B-en for these texts."""
    chance = random.Random(seed)
    count = len(texts)
    return {
        "SAMPLE_ID": [*range(count)],
        "URL": [f"https://example.org/{chance.getrandbits(64):x}.jpg" for _ in texts],
        "TEXT": texts,
        "WIDTH": [chance.choice((256, 512, 1024)) for _ in texts],
        "HEIGHT": [chance.choice((256, 512, 1024)) for _ in texts],
        "LANGUAGE": [chance.choice(("en", "en", "de")) for _ in texts],
        "NSFW": [chance.choice(("UNLIKELY", "UNLIKELY", "NSFW", None)) for _ in texts],
        "similarity": [chance.uniform(0.2, 0.4) for _ in texts],
        "punsafe": [chance.random() for _ in texts],
        "AESTHETIC_SCORE": [chance.uniform(3, 7) for _ in texts],
    }


def write_parquet(path: Path, rows: dict[str, list[Any]], **how: Any) -> Path:
    """A Parquet file as they come: dictionary-encoded text, several row groups."""
    table = pa.table(rows)
    for name in ("TEXT", "LANGUAGE", "NSFW"):
        if name in rows:
            at = table.column_names.index(name)
            table = table.set_column(at, name, table[name].dictionary_encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **{"row_group_size": 70, **how})
    return path


def split(rows: dict[str, list[Any]], order: list[int], parts: int) -> list[dict[str, list[Any]]]:
    """The rows in another order, in so many files."""
    return [{name: [values[at] for at in order[part::parts]] for name, values in rows.items()} for part in range(parts)]
