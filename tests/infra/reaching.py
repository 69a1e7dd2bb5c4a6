"""How a test's process reaches an S3 server: where it is, and how long it is waited for."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from infra.store import Store, open_store
from tests.s3 import BUCKET, S3Server

TIMEOUT_S = 1.0


def use(server: S3Server, endpoint: str, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    settings = {"INSTAFLOW_STORE_TIMEOUT_S": str(TIMEOUT_S), "INSTAFLOW_CACHE": str(cache / "cache")}
    for name, value in {**server.environment(), "AWS_ENDPOINT_URL": endpoint, **settings}.items():
        monkeypatch.setenv(name, value)


def new_store() -> Store:
    return open_store(f"s3://{BUCKET}/{uuid.uuid4().hex}")


def gone_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"INSTAFLOW_STORE_PATIENCE_S": "1.5", "INSTAFLOW_STORE_TIMEOUT_S": "0.5", "AWS_MAX_ATTEMPTS": "1"}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
