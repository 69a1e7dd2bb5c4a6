"""A chain of three small artifacts in a store: prompts -> pairs -> distill."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from infra.artifact import Artifact, Draft, Folder, Source
from infra.artifact.fingerprint import fingerprint
from infra.environment import utc_now
from infra.store import Store
from infra.upkeep.runs import Ref, write_ref

UNITS = ("shard-000000", "shard-000001")


def make(
    store: Store, stage: str, inputs: Mapping[str, Source], config: Mapping[str, int] | None = None, text: str = ""
) -> Artifact:
    """An artifact of two shards whose bytes depend on stage, configuration and inputs; makes only what is missing."""
    digests = {role: source.digest for role, source in inputs.items()}
    with Draft(store, stage, fingerprint(stage, 1, config or {}, digests)) as draft:
        started_at = utc_now()
        for unit in [unit for unit in UNITS if unit not in draft.units()]:
            shard = draft.workdir / unit
            shard.write_text(f"{stage} {unit} {config} {digests} {text}" * 10)
            draft.commit_unit(unit, {f"{unit}.tar": shard}, rows=2, seconds=1.0)
        return draft.finish(UNITS, 1, dict(config or {}), inputs, {"mean": 0.5}, {}, started_at)


def make_chain(store: Store, folder: Path, recipe: str = "mini", seed: int = 0) -> dict[str, Artifact]:
    """The chain, with its teacher a plain folder and the recipe's references written."""
    folder.mkdir(exist_ok=True)
    (folder / "weights.txt").write_text("teacher")
    prompts = make(store, "prompts", {}, {"seed": seed})
    pairs = make(store, "pairs", {"teacher": Folder.open(folder), "prompts": prompts})
    made = {"prompts": prompts, "pairs-1": pairs, "distill": make(store, "distill", {"pairs": pairs})}
    for stage_id, artifact in made.items():
        inputs = {record.role: record.digest for record in artifact.manifest.inputs}
        ref = Ref(artifact=artifact.base, digest=artifact.digest, config=artifact.manifest.config, inputs=inputs)
        write_ref(store, recipe, stage_id, ref)
    return made
