"""A stage in small: two shards with a timing file each, and a folder; what other tests do bad things to."""

from __future__ import annotations

from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.store import Store

PRINT = fingerprint("pairs", 1, {"steps": 25}, {})
UNITS = ["shard-000000", "shard-000001", "model"]


def make(store: Store, seconds: float = 1.0) -> Artifact:
    """The artifact of all units; only missing ones are made."""
    with Draft(store, "pairs", PRINT) as draft:
        started_at = utc_now()
        for unit in [unit for unit in UNITS if unit not in draft.units()]:
            commit(draft, unit, seconds)
        return draft.finish(UNITS, 1, {"steps": 25}, {}, {"mean": 0.5}, {"noise": 1}, started_at)


def commit(draft: Draft, unit: str, seconds: float) -> None:
    """One unit, whose bytes but for the timing are always the same."""
    if unit == "model":
        tree = draft.workdir / "tree"
        (tree / "unet").mkdir(parents=True)
        (tree / "model_index.json").write_text("{}")
        (tree / "unet" / "config.json").write_text('{"a": 1}')
        draft.commit_unit(unit, {"model": tree})
        return
    shard, timing = draft.workdir / "shard", draft.workdir / "timing"
    shard.write_bytes(unit.encode() * 1000)
    timing.write_text(str(seconds))
    blobs = {f"{unit}.tar": shard, f"{unit}-timing.json": timing}
    draft.commit_unit(
        unit, blobs, rows=4, seconds=seconds, volatile=[f"{unit}-timing.json"], blob_rows={f"{unit}.tar": 4}
    )
