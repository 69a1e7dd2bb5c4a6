"""Where bytes live: one interface, a local folder or S3."""

from infra.store.opening import open_store
from infra.store.store import Names, Store, StoreError, reason

__all__ = ["Names", "Store", "StoreError", "open_store", "reason"]
