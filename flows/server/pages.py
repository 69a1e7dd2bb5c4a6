"""Prefect's pages: its first UI alone. The second one asks an analytics host whatever it is told (3.8.8).

PREFECT_SERVER_UI_V2_ENABLED only says which of the two comes first; the other stays a click away. What does keep it
away is that there is no room for its files: a link to nowhere lies in their place, so Prefect says in its log that it
cannot copy them, and offers what it has. `infra/docker`, `infra/systemd` and `infra/kubernetes` do the same.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def pages_folder(folder: Path) -> Path:
    """The folder below `folder` that is to be Prefect's PREFECT_UI_STATIC_DIRECTORY."""
    pages = folder / "pages"
    pages.mkdir(exist_ok=True)
    with suppress(FileExistsError):
        (pages / "v2").symlink_to("nowhere")
    return pages
