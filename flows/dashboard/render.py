"""Templates to bytes: one jinja2 environment, whose filters say numbers and times as people do."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Generic, TypeVar

import jinja2
from markupsafe import Markup, escape

from flows.dashboard.links import artifact_link, badge, run_link
from infra.words import duration, size
from tasks.evaluate.measured import shown, shown_with_interval

LONGEST = 400
"""Characters of a text that somebody else wrote, in a table."""
_T = TypeVar("_T")


def render(template: str, path: str, **values: object) -> bytes:
    """A page at `path` of the site."""
    root = "../" * path.count("/")
    return _environment().get_template(template).render(root=root, path=path, **values).encode()


@cache
def _environment() -> jinja2.Environment:
    folder = Path(__file__).parent / "templates"
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals |= {"artifact_link": artifact_link, "badge": badge, "run_link": run_link}
    environment.filters |= {
        "bytes": size,
        "clip": clip,
        "facts": facts,
        "hours": hours,
        "json": value_text,
        "number": shown,
        "quoted": shlex.quote,
        "span": span,
        "time": time_tag,
        "with_interval": shown_with_interval,
    }
    return environment


def clip(text: object, longest: int = LONGEST) -> str:
    """A text, cut where it is longer than a page should show."""
    whole = str(text)
    return whole if len(whole) <= longest else f"{whole[:longest]} … ({len(whole):,} characters)"


def facts(told: Mapping[str, str]) -> str:
    """What something was made with, as a sentence."""
    return clip(", ".join(f"{name} {value}" for name, value in told.items()), 2 * LONGEST)


def value_text(value: object) -> str:
    """A value of a configuration as JSON, cut where it is long."""
    return clip(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def hours(seconds: float) -> str:
    """Device time: hours with three digits, and what is less than one as people say it."""
    return f"{shown(seconds / 3600)} h" if seconds >= 3600 else duration(seconds)


def span(seconds: float | None) -> str:
    """A time for people; nothing for none."""
    return "" if seconds is None else duration(seconds)


@lru_cache(maxsize=10_000)
def time_tag(moment: str | datetime | None) -> Markup:
    """A moment to the minute, in UTC, with its whole value for machines; nothing for none."""
    if moment is None:
        return Markup("")
    try:
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return escape(clip(moment, 40))
    return Markup(f'<time datetime="{at.isoformat(timespec="seconds")}">{at:%Y-%m-%d %H:%M}</time>')  # digits alone


@dataclass(frozen=True)
class Paged(Generic[_T]):
    """One page of a list."""

    items: Sequence[_T]
    number: int
    of: int
    total: int
    paths: Sequence[str]

    @property
    def path(self) -> str:
        """Where this page lies."""
        return self.paths[self.number]


def paged(items: Sequence[_T], stem: str, at_once: int) -> list[Paged[_T]]:
    """A list in pages of so many: `stem.html`, `stem~2.html`, ...; an empty one is a page, too.

    No name has a `~`, so that no page is called as another list's.
    """
    count = max(1, -(-len(items) // at_once))
    paths = [f"{stem}.html" if number == 0 else f"{stem}~{number + 1}.html" for number in range(count)]
    return [
        Paged(items[number * at_once : (number + 1) * at_once], number, count, len(items), paths)
        for number in range(count)
    ]
