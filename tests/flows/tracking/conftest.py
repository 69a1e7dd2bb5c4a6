"""The dashboard's small store, and what trackers are to be told of it, read from its files alone."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pyarrow.parquet as pq
import pytest

from infra.artifact import Artifact
from tests.flows.observed.small_store import Small
from tests.flows.tracking.expected import Expected


@pytest.fixture(scope="package")
def expected(small: Small) -> Mapping[str, Expected]:
    """By stage/fingerprint."""
    artifacts = [one for one in small.made.values() if one.stage in ("reflow", "distill", "direct", "evaluate")]
    return {one.base: Expected(one, _evaluated(one) if one.stage == "evaluate" else _trained(one)) for one in artifacts}


def _trained(artifact: Artifact) -> dict[str, list[tuple[int, float]]]:
    rows = pq.read_table(artifact.fetch("curve.parquet")).to_pylist()
    curve = {name: [(row["step"], row[name]) for row in rows] for name in ("loss", "gradient_norm", "learning_rate")}
    return curve | {"seconds": [(rows[-1]["step"], artifact.manifest.seconds)]}


def _evaluated(artifact: Artifact) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for record in json.loads(artifact.fetch("metrics.json").read_text())["records"]:
        for name, value in record.items():
            if name not in ("model", "steps", "guidance", "solver", "num_images") and value is not None:
                found.setdefault(f"{name}/{record['model']}", []).append((record["steps"], value))
    return {name: sorted(points) for name, points in found.items()}
