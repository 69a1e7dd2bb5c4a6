"""Secrets are for their user alone."""

from __future__ import annotations

import stat
from pathlib import Path

from infra.private import write_private


def test_nobody_else_reads_it_whoever_could_read_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("of another time")
    path.chmod(0o644)
    write_private(path, "secret")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("secret", 0o600)


def test_a_link_that_lies_there_leads_nowhere(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (tmp_path / "password").symlink_to(elsewhere)
    write_private(tmp_path / "password", "secret")
    assert not elsewhere.exists() and not (tmp_path / "password").is_symlink()
