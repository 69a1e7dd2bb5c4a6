"""`instaflow plan` on a store of 200 artifacts: what somebody waits who only asks."""

from __future__ import annotations

import tempfile
from pathlib import Path

from flows.recipes import chain_of, load_recipe
from flows.run import sources
from infra.artifact import Artifact, Draft, Source
from infra.environment import utc_now
from infra.recipe import Section
from infra.store import Store, open_store
from infra.upkeep.runs import Ref, write_ref
from tasks.stage import stage_fingerprint
from tasks.stages import stage_of
from tests.benchmarks.command import timed_instaflow
from tests.benchmarks.row import Options, Row, spread

ROUNDS, ARTIFACTS, LIMIT_S, RECIPE = 5, 200, 1.5, "mini"


def measure(options: Options) -> list[Row]:
    """The command as a process, of a recipe that is cached and of one that is not; the slower one counts."""
    with tempfile.TemporaryDirectory(prefix="instaflow-bench-") as folder:
        store = open_store(Path(folder))
        count = fill(store)
        plan = ["plan", RECIPE, "--store", folder]
        times: dict[str, list[float]] = {"cached": [], "changed": [], "help": []}
        for _ in range(ROUNDS):
            times["cached"].append(timed_instaflow(plan))
            times["changed"].append(timed_instaflow([*plan, "--set", "pairs.steps=7"]))
            times["help"].append(timed_instaflow(["--help"]))
    slower = max(times["cached"], times["changed"], key=sorted)
    median = sorted(slower)[ROUNDS // 2]
    detail = (
        f"{count} artifacts in a local folder; cached {spread(times['cached'])}, with another pairs.steps"
        f" {spread(times['changed'])}; `instaflow --help` alone {spread(times['help'])}; median of {ROUNDS} (range)"
    )
    return [Row("plan, s", f"{median:.3g}", f"at most {LIMIT_S:g}", median <= LIMIT_S, detail)]


def fill(store: Store) -> int:
    """Commit the recipe with one seed after the other, each stage a small file; ends with the recipe's own seed."""
    recipe, made = load_recipe(RECIPE), _Made(store)
    seed = 0
    while len(made.bases) < ARTIFACTS:
        seed += 1
        chain_of(recipe.model_copy(update={"seed": seed}).seeded()).replay(made)
    chain_of(recipe.seeded()).replay(made)
    return len(made.bases)


class _Made:
    """A `Do` of the algorithm that commits a small file for every stage."""

    def __init__(self, store: Store) -> None:
        self.store, self.bases = store, set[str]()

    def given(self, tree: str, path: str) -> Source:
        """A folder that lies ready."""
        return sources.given(tree, path)

    def __call__(self, stage_id: str, config: Section, /, **inputs: Source | None) -> Source:
        taken = {role: source for role, source in inputs.items() if source is not None}
        artifact = self._commit(stage_id, config, taken)
        digests = {role: source.digest for role, source in taken.items()}
        ref = Ref(artifact=artifact.base, digest=artifact.digest, config=config.identity(), inputs=digests)
        write_ref(self.store, RECIPE, stage_id, ref)
        self.bases.add(artifact.base)
        return artifact

    def _commit(self, stage_id: str, config: Section, taken: dict[str, Source]) -> Artifact:
        stage = stage_of(stage_id)
        identity = stage_fingerprint(stage, config, taken)
        with Draft(self.store, stage.name, identity) as draft:
            file = draft.workdir / "small.txt"
            file.write_text(identity)
            draft.commit_unit("small", {file.name: file}, rows=1, seconds=1.0)
            return draft.finish(["small"], stage.version, config.model_dump(mode="json"), taken, {}, {}, utc_now())
