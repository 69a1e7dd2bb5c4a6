"""What a flow refuses that a worker started."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.server.arrival import HOME, RELEASE, arrive
from infra.errors import UserError
from infra.release import release


def test_who_comes_without_a_worker_is_asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RELEASE, raising=False)
    before = Path.cwd()
    monkeypatch.setenv(HOME, "/")
    arrive("store")
    assert Path.cwd() == before


def test_other_code_than_was_deployed_is_refused_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RELEASE, "0.0.9+0123456789ab")
    with pytest.raises(UserError) as refused:
        arrive("s3://bucket/store")
    assert f"has instaflow {release()}, deployed was instaflow 0.0.9+0123456789ab." in str(refused.value)
    assert "instaflow deploy" in str(refused.value)


def test_paths_begin_where_the_worker_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    monkeypatch.setenv(RELEASE, release())
    monkeypatch.setenv(HOME, str(tmp_path))
    arrive(str(tmp_path / "store"))
    assert Path.cwd() == tmp_path
    with pytest.raises(UserError, match="store store: a relative path is another folder for every worker"):
        arrive("store")
