"""Which kind of store a URL names."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from infra.errors import UserError
from infra.store.local import LocalStore
from infra.store.store import Store


def open_store(url: str | Path) -> Store:
    """The store at a local folder, s3://BUCKET/PATH or memory://NAME; touches nothing yet.

    Raises UserError for credentials in the URL or another protocol.
    """
    text = str(url)
    if "://" not in text:
        return LocalStore(Path(text))
    parts = urlsplit(text)
    if parts.password is not None:
        host = parts.netloc.rpartition("@")[2]
        clean = urlunsplit((parts.scheme, host, parts.path, "", ""))
        raise UserError(
            f"store {clean}: the URL carries a user name and password, which would end up in logs and"
            " manifests; give credentials through the environment or the provider's own files instead"
        )
    if parts.scheme == "file":
        return LocalStore(Path(text.removeprefix("file://")))
    from infra.store.remote import RemoteStore  # brings fsspec, which a local folder does not need

    return RemoteStore(text)
