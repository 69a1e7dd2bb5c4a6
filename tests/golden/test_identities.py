"""The identity of every stage of every bundled recipe is what it was: nobody's store is orphaned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden.chain import identities, place_weights
from tests.golden.recorded import golden

GOLDEN: dict[str, dict[str, str]] = golden("identities")
OVERRIDES = {"tiny, seed 3, two rounds": ("tiny", "seed=3", "reflow.rounds=2")}


@pytest.mark.parametrize("name", GOLDEN)
def test_every_fingerprint_is_as_it_was(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_weights(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert identities(*OVERRIDES.get(name, (name,))) == GOLDEN[name]
