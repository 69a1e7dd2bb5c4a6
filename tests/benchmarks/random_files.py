"""An artifact of random files: what checks and copies are measured with."""

from __future__ import annotations

import numpy as np

from infra.artifact import Artifact, Draft
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.store import Store


def commit_random(store: Store, files: int, file_bytes: int) -> Artifact:
    """So many files of so many bytes, a unit each."""
    random = np.random.default_rng(0)
    with Draft(store, "pairs", fingerprint("pairs", 1, {}, {})) as draft:
        for number in range(files):
            path = draft.workdir / f"shard-{number:06d}.tar"
            path.write_bytes(random.bytes(file_bytes))
            draft.commit_unit(path.stem, {path.name: path}, rows=1)
        return draft.finish([*draft.units()], 1, {}, {}, {}, {}, utc_now())
