"""What stands on every page again and again: links to artifacts and runs, and how something stands."""

from __future__ import annotations

from markupsafe import Markup, escape

from flows.observed.known import Known
from flows.page_names import card_path, run_path
from infra.upkeep.runs import RunRecord

_KINDS = {
    "done": "good", "running": "busy", "failed": "bad", "lost": "bad", "damaged": "bad", "cancelled": "warn",
    "unfinished": "warn", "to be redone": "warn",
}  # fmt: skip

NAMES, LONGEST = 2, 40
"""Names that a link shows, and characters of each."""


def artifact_link(base: str, known: Known, root: str) -> Markup:
    """An artifact by its short name and by those that people gave it, a link where it has a card."""
    if base not in known.cards:
        return Markup(f'<span class="gone">{escape(base[:80])}</span>')
    stage, _, fingerprint = base.partition("/")
    names = [*known.seen.named.get(base, ())]
    called = "".join(f' <b class="name">{escape(shortened(name))}</b>' for name in names[:NAMES])
    called += f" +{len(names) - NAMES}" if len(names) > NAMES else ""
    return Markup(f'<a href="{root}{card_path(base)}">{escape(stage[:40])}/<code>{fingerprint[:8]}</code></a>{called}')


def shortened(name: str) -> str:
    """A name, with a mark where it is cut."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def run_link(record: RunRecord, root: str) -> Markup:
    """A run by its name, as a link to its page."""
    return Markup(f'<a href="{root}{run_path(record.run_id)}"><code>{escape(record.run_id[:60])}</code></a>')


def badge(state: str) -> Markup:
    """How something stands, in words and a colour."""
    return Markup(f'<span class="badge {_KINDS.get(state, "")}">{escape(state)}</span>')
