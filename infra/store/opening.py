"""Which kind of store a URL names."""

from __future__ import annotations

from pathlib import Path

from infra.address import require_public
from infra.store.local import LocalStore
from infra.store.store import Store


def open_store(url: str | Path) -> Store:
    """The store at a local folder, s3://BUCKET/PATH or memory://NAME; touches nothing yet.

    Raises UserError for a URL with credentials or a query, and for another protocol.
    """
    text = str(url)
    if "://" not in text:
        return LocalStore(Path(text))
    require_public(text, "store")
    if text.startswith("file://"):
        return LocalStore(Path(text.removeprefix("file://")))
    from infra.store.remote import RemoteStore  # brings fsspec, which a local folder does not need

    return RemoteStore(text)
