"""The example of a manifest in docs/artifacts.md: out of a store in which the recipe `tiny` has been run."""

from __future__ import annotations

import json
import re
from typing import Any

from infra.artifact import Artifact
from infra.store import Store
from infra.upkeep.runs import read_ref
from tests import ROOT

RECIPE, STAGE_ID = "tiny", "pairs-1"
STORE = "demo/store"
_LEFT_OUT = "shard-000001"  # the second of two: shortened
_MACHINE = {"host": "laptop", "platform": "Linux-x86_64"}
_BLOCK = re.compile(r"(<!-- example -->\n```json\n).*?(```\n<!-- end of example -->)", re.DOTALL)
_NAMED = re.compile(rf"{STORE}/pairs/[0-9a-f]{{8}}|(?<=s3://bucket/path/pairs/)[0-9a-f]{{8}}")


def exemplified(text: str, store: Store) -> str:
    """The Markdown with its example, and the places that name it, out of this store."""
    ref = read_ref(store, RECIPE, STAGE_ID)
    assert ref is not None, f"instaflow run {RECIPE} --store {store.url}"
    made = Artifact.find(store, ref.artifact)
    short = made.fingerprint[:8]
    text = _NAMED.sub(lambda found: f"{found[0][:-8]}{short}", text)
    return _BLOCK.sub(lambda block: f"{block[1]}{json.dumps(shortened(made), indent=2)}\n{block[2]}", text)


def shortened(made: Artifact) -> dict[str, Any]:
    """Its manifest without the second shard, and without what is of one machine alone."""
    told: dict[str, Any] = made.manifest.model_dump(mode="json")
    told["files"] = [file for file in told["files"] if _LEFT_OUT not in file["path"]]
    told["units"] = [part for part in told["units"] if part["unit"] != _LEFT_OUT]
    for one in told["inputs"]:
        one["uri"] = one["uri"].replace(made.store.url, STORE).removeprefix(f"{ROOT}/")
    for environment in (told["environment"], *told["environments"]):
        environment |= _MACHINE
    return told
