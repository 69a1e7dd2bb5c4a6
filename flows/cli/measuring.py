"""`instaflow evaluate`: what it is asked for as settings of a preset, which is a recipe of the algorithm evaluation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.algorithms.chain import Chain
from flows.cli.results import model_source
from flows.recipes import bundled, load_recipe
from flows.run.sources import given
from infra.artifact import MANIFEST, Source
from infra.artifact.held import Held
from infra.errors import UserError
from infra.store import Store
from models.pipelines.folder import SOLVERS, check_folder
from tasks.data.drawn import files_in
from tasks.evaluate.cells import Cell, cells, first_of
from tasks.sections import EvaluateJob, Recipe

ALGORITHM = "evaluation"


@dataclass(frozen=True)
class Asked:
    """What is measured, and at how many steps and which guidance scales; none: as the preset says."""

    model: str
    steps: tuple[int, ...] = ()
    guidance: tuple[float, ...] = ()


def asked(model: str, steps: str | None, guidance: str | None) -> Asked:
    """The command line's words: numbers with commas between them. Raises UserError for what is none."""
    counts, scales = _numbers("--steps", steps, int, 1), _numbers("--guidance", guidance, float, 0)
    return Asked(model, tuple(map(int, counts)), tuple(scales))


def _numbers(option: str, text: str | None, kind: type[int] | type[float], least: int) -> list[float]:
    try:
        found = [kind(word) for word in text.split(",")] if text is not None else []
    except ValueError:
        found = [least - 1]
    if not all(least <= number < float("inf") for number in found):
        raise UserError(f"{option} {text}: expected numbers from {least} on with commas between them, e.g. 1,4,25")
    return [*dict.fromkeys(found)]


def measuring(asked: Asked, preset: str, overrides: Sequence[str], store: Store, names: Chain) -> list[str]:
    """What is set in the preset for what is asked. Raises UserError for what is no model and no folder of pictures.

    `names` is the chain in whose last run names like `student` are looked for.
    """
    told = _preset(preset, overrides).model_dump()
    settings = _of_pictures(asked) if _is_pictures(asked.model) else _of_model(asked, told, store, names)
    return [*overrides, *(f"{key}={json.dumps(value)}" for key, value in settings)]


def _preset(name: str, overrides: Sequence[str]) -> Recipe:
    found = load_recipe(name, overrides)
    if found.algorithm != ALGORITHM:
        ours = ", ".join(one for one in bundled() if load_recipe(one).algorithm == ALGORITHM)
        raise UserError(
            f"--preset {name}: a recipe of the algorithm {found.algorithm}; expected {ours}, or a YAML file that says"
            f" algorithm: {ALGORITHM}"
        )
    return found


def _is_pictures(model: str) -> bool:
    """Whether it is a folder and no model's. Raises UserError when it holds no pictures either."""
    if held := Held.at(model):
        return held.tree == "pictures"
    folder = Path(model).expanduser()
    if not folder.is_dir() or any((folder / name).is_file() for name in (MANIFEST, "model_index.json")):
        return False
    if not files_in(folder):
        raise UserError(f"{model}: no diffusers folder (no model_index.json in it) and no folder of pictures either")
    return True


Setting = tuple[str, object]


def _of_pictures(asked: Asked) -> Iterator[Setting]:
    if asked.steps or asked.guidance:
        raise UserError(f"{asked.model}: a folder of pictures; --steps and --guidance are of a model. Leave them out.")
    yield "pictures", asked.model if Held.at(asked.model) else str(Path(asked.model).expanduser().absolute())


def _of_model(asked: Asked, told: Mapping[str, Any], store: Store, names: Chain) -> Iterator[Setting]:
    source = given("model", asked.model) if "://" in asked.model else model_source(store, asked.model, names)
    yield "model.path", source.uri
    own = _own_way(asked.model, names)
    if steps := asked.steps or ((own.steps,) if own else ()):
        yield "evaluate.steps", steps
        yield "evaluate.teacher_steps", max(one for one in steps if one)
    if scales := asked.guidance or ((own.guidance,) if own else ()):
        usual = told["evaluate"]["teacher_guidance"]
        yield "evaluate.teacher_guidance", usual if usual in scales else scales[0]
        yield "evaluate.guidances", scales if len(scales) > 1 else ()
    known = SOLVERS["raw"] if told["model"]["convention"] == "paper" else _solvers(source)
    if told["evaluate"]["teacher_solver"] not in known:
        yield "evaluate.teacher_solver", "euler"


def _own_way(model: str, names: Chain) -> Cell | None:
    """How the recipe of a model that is called by its role samples it itself."""
    roles = [role for role in names.algorithm.roles if role.name == model]
    jobs = [node.config for node in names.nodes.values() if isinstance(node.config, EvaluateJob)]
    return next((first_of(model, cells(job, [roles[0].input])) for job in jobs if roles), None)


def _solvers(source: Source) -> tuple[str, ...]:
    """The solvers of a model; all of them where its folder cannot be used: why is said before the run."""
    try:
        return SOLVERS[check_folder(source.folder("model")).parameterization]
    except (OSError, ValueError):
        return SOLVERS["diffusion"]
