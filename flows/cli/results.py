"""What leaves the store: the report's files, a model, a model by its everyday name."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from flows.algorithms.chain import Chain, Given
from flows.run import opened
from flows.run.sources import given
from infra.artifact import Artifact, Source
from infra.artifact.fingerprint import sha256_file, tree_files
from infra.artifact.manifest import ADDED, Manifest
from infra.artifact.names import read_name
from infra.errors import UserError
from infra.store import Store, reason
from infra.store.whole_file import whole
from infra.upkeep.runs import read_ref
from models.pipelines.folder import MARKER
from tasks.stages import STAGES

if TYPE_CHECKING:
    from PIL.Image import Image

_REPORT = {"report": ("report.html", "contact_sheet.png"), "evaluate": ("metrics.json", "metrics.parquet")}


def copy_report(store: Store, recipe_name: str, out: Path) -> Path:
    """Put report.html, contact_sheet.png, metrics.json and metrics.parquet of the last run into `out`.

    Returns the path of report.html. Raises UserError when the recipe has not been run to its end here.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
        for stage_id, names in _REPORT.items():
            artifact = last_artifact(store, recipe_name, stage_id)
            for name in names:
                if artifact.files(name):
                    shutil.copyfile(artifact.fetch(name), out / name)
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"--out {out}: cannot write here: {error.strerror}. Name a folder you may write to.") from error
    return out / "report.html"


def report_file(store: Store, recipe_name: str) -> str:
    """Where the report of the last run is: a path in a local store, a URI elsewhere."""
    artifact = last_artifact(store, recipe_name, "report")
    path = f"{artifact.base}/{artifact.files('report.html')[0].path}"
    return str(store.local_path(path) or f"{store.url}/{path}")


def last_artifact(store: Store, recipe_name: str, stage_id: str) -> Artifact:
    """What the stage made in the recipe's last run in this store. Raises UserError when there was none."""
    ref = read_ref(store, recipe_name, stage_id)
    if ref is None:
        raise UserError(
            f"store {store.url}: recipe {recipe_name} has no {stage_id} here."
            f" Run it first (instaflow run {recipe_name} --store {store.url}) or name another store."
        )
    return opened.find(store, ref.artifact)


_CONVERTED = (
    "a converted flow (reflow.parameterization: converted): stock diffusers takes it for the diffusion model that it"
    " was and draws other pictures. Draw with instaflow generate --model FOLDER, or export a student or a raw flow.\n"
)


def export_tree(artifact: Artifact, folder: Path) -> str | None:
    """Copy the artifact's file tree to `folder`, as its manifest names it: a model as `from_pretrained` wants it.

    Returns what its user has to know, which then also stands in NOTE.txt beside it; None where there is nothing. Raises
    UserError when the folder is not empty or cannot be written, and when the artifact holds no tree.
    """
    tree = _tree(artifact)
    names = [file.name.removeprefix(f"{tree}/") for file in artifact.files(f"{tree}/*")] if tree else []
    if tree is None or not names:
        others = ", ".join(stage.name for stage in STAGES.values() if stage.tree == "model")
        raise UserError(f"artifact {artifact.uri}: holds no folder to export; a {others} does.")
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file. Name a new folder, so that nothing of yours is replaced.")
    source = artifact.folder(tree)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UserError(f"{folder}: is not empty. Name a new folder, so that nothing of yours is replaced.")
        for name in names:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, folder / name)
        return _noted(folder)
    except OSError as error:
        raise UserError(
            f"{folder}: cannot write here: {reason(error)}. Name a folder that you may write to."
        ) from error


def _tree(artifact: Artifact) -> str | None:
    """The folder in it that leaves the store."""
    if artifact.stage == ADDED:
        return str(artifact.manifest.config["tree"])
    return STAGES[artifact.stage].tree if artifact.stage in STAGES else None


def _noted(folder: Path) -> str | None:
    if not (folder / MARKER).is_file():
        return None
    (folder / "NOTE.txt").write_text(_CONVERTED, encoding="utf-8")
    return f"{folder}: {_CONVERTED.strip()}"


def model_source(store: Store, model: str, chain: Chain) -> Source:
    """What `model` names: one of the roles (student, ...) in the last run, a folder, an artifact, a name."""
    source = chain.model(model)
    if isinstance(source, Given):
        return given(source.tree, source.path)
    if source is not None:
        return last_artifact(store, chain.recipe.name, source)
    if model in [role.name for role in chain.algorithm.roles]:
        raise UserError(f"model {model}: the recipe {chain.recipe.name} makes none. See: instaflow plan.")
    if Path(model).expanduser().joinpath("model_index.json").is_file():
        return given("model", model)
    if "/" not in model and read_name(store, model) is None:
        raise UserError(f"model {model}: there is no such model. {_models(model, chain)}")
    return Artifact.find(store, model)


def _models(asked: str, chain: Chain) -> str:
    """What there is instead."""
    roles = [role.name for role in chain.algorithm.roles]
    near = difflib.get_close_matches(asked, roles, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"Expected {', '.join(roles)}, an artifact (stage/fingerprint), a name or a diffusers folder.{hint}"


def save_picture(picture: Image, out: Path) -> None:
    """Write a PNG (or what the suffix says). Raises UserError when that cannot be."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        picture.save(out)
    except (OSError, ValueError) as error:  # ValueError: a suffix that is no picture's
        raise UserError(f"--out {out}: cannot write the picture: {error}. Name a .png you may write.") from error


def embed(artifacts: Mapping[str, Artifact], weights: Path) -> Path:
    """Put each artifact's tree and manifest into `weights` by name, in the place of what this left there before.

    What was there stays until all the new ones are whole. Returns `weights`. Raises UserError as `require_ours` does
    and when nothing can be written there.
    """
    require_ours(artifacts, weights)
    try:
        weights.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".embed-", dir=weights) as aside:
            for name, artifact in artifacts.items():
                export_tree(artifact, Path(aside, name))
            for name, artifact in artifacts.items():
                _replace(weights / name, Path(aside, name), _anonymous(artifact.manifest))
    except OSError as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"--out {weights}: cannot write here: {reason(error)}. Name a folder you may write to."
        ) from error
    return weights


def require_ours(names: Iterable[str], weights: Path) -> None:
    """Raise UserError for a folder of that name in `weights` that is not what `embed` left there: it is somebody's."""
    for name in names:
        folder, record = weights / name, _record_beside(weights / name)
        if os.path.lexists(folder) and not _is_recorded(folder, record):
            raise UserError(
                f"{folder}: would be replaced, and is not what was put there before (as {record.name} beside it would"
                " say). Move it away, or name another folder with --out."
            )


def _is_recorded(folder: Path, record: Path) -> bool:
    """Whether every file of the folder is named by the manifest beside it, so that nothing else is lost with it."""
    if folder.is_symlink() or not folder.is_dir() or not record.is_file():
        return False
    known = {file.name.partition("/")[2]: file.sha256 for file in _manifest(record).files}
    return all(known.get(name) == sha256_file(path) for name, path in tree_files(folder).items())


def _replace(folder: Path, made: Path, manifest: Manifest) -> None:
    """Give `made` its name and put its manifest beside it; killed on the way, the old folder lies where it was made."""
    if folder.exists():
        folder.rename(made.with_name(f"{made.name}.before"))
    whole(_record_beside(folder), lambda part: part.write_bytes(manifest.to_bytes()))
    made.rename(folder)


def _record_beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.manifest.json")


def _manifest(path: Path) -> Manifest:
    return Manifest.from_bytes(path.read_bytes(), str(path))


def _anonymous(manifest: Manifest) -> Manifest:
    """The manifest for a folder that is given away: without host, platform and the store's address."""
    inputs = [record.model_copy(update={"uri": "/".join(record.uri.split("/")[-2:])}) for record in manifest.inputs]

    def told(environment: Mapping[str, str]) -> dict[str, str]:
        return {name: value for name, value in environment.items() if name not in ("host", "platform")}

    update = {"environment": told(manifest.environment), "environments": [*map(told, manifest.environments)]}
    return manifest.model_copy(update={"inputs": inputs, **update})
