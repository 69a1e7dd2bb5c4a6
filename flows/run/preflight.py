"""Before the first unit: all that can be told without computing is told at once, in one error, and torch is not needed.

Many pictures are looked at while the first stages work: what is found then ends the run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.algorithms.chain import Chain, Given, Node
from flows.run import sources
from flows.run.budget import budget_faults
from flows.run.costs import read_site
from flows.run.placing import placement_faults
from infra.errors import UserError
from infra.recipe import Section
from tasks.data.pictures import check_pictures
from tasks.data.pictures import faults as picture_faults
from tasks.preflight import Foreseen, absent_files, faults, model_faults, picture_files
from tasks.sections import ModelSource, RealJob

AT_ONCE = 1000
"""Pictures that are looked at before the first stage."""


def preflight(chain: Chain) -> None:
    """Raise UserError with everything that is wrong with a chain, a line each."""
    found = [*dict.fromkeys(_faults(chain))]
    if len(found) > 1:
        raise UserError("\n  ".join([f"{len(found)} things are in the way of {chain.recipe.name}:", *found]))
    if found:
        raise UserError(found[0])


def _faults(chain: Chain) -> Iterator[str]:
    yield from placement_faults(chain)
    yield from budget_faults(chain, read_site())
    for one in chain.given():
        yield from _given_faults(one, _field(chain, one.tree))
    for node in chain.nodes.values():
        at = _section(chain, node)
        yield from absent_files(node.config, at)
        yield from faults(node.config, _foreseen(chain, node).inputs, at)
    for folder, names in _pictures(chain):
        try:
            check_pictures(folder, names[:AT_ONCE])
        except UserError as error:
            yield from str(error).splitlines()


def _given_faults(one: Given, field: str) -> Iterator[str]:
    """What is wrong with a folder that lies ready; `doctor` looks at what is embedded."""
    try:
        folder = sources.folder_of(one.tree, one.path)
    except UserError as error:  # of an artifact, of a repository
        yield f"{field}: {error}"
        return
    if not folder.exists():
        yield f"{field}: {one.path}: no such file or folder. Check the path; it starts at {Path.cwd()}."
    elif not folder.is_dir():
        yield f"{field}: {one.path}: is a file; expected a folder."
    elif one.tree == "model" and (one.tree, one.path) not in sources.EMBEDDED:
        yield from model_faults(folder, field)


_FIELDS = {"coco": "coco.path", "clip": "models/mini/weights", "pictures": "pictures"}


def _field(chain: Chain, tree: str) -> str:
    """Where the path of a tree is from."""
    models = (name for name, section in chain.recipe if isinstance(section, ModelSource))
    return f"{next(models)}.path" if tree == "model" else _FIELDS[tree]


def _foreseen(chain: Chain, source: str | Given | Node) -> Foreseen:
    if isinstance(source, Given):
        return Foreseen(folder=_folder(source))
    node = chain.nodes[source] if isinstance(source, str) else source
    return Foreseen(config=node.config, inputs={role: _foreseen(chain, one) for role, one in node.inputs.items()})


def _folder(one: Given) -> Path | None:
    """Where it lies; None where it does not: why is said elsewhere."""
    try:
        folder = sources.folder_of(one.tree, one.path)
    except UserError:
        return None
    return folder if folder.is_dir() else None


def _section(chain: Chain, node: Node) -> str:
    """The section of the recipe that a stage is told: of its own class, else one whose every field it was given.

    Else it is the one that the stage's row says.
    """
    recipe = {name: getattr(chain.recipe, name) for name in type(chain.recipe).model_fields}
    sections = {name: value for name, value in recipe.items() if isinstance(value, Section)}
    told = node.config.model_dump().items()
    same = [name for name, value in sections.items() if type(value) is type(node.config)]
    within = [name for name, value in sections.items() if value.model_dump().items() <= told]
    return next(iter([*same, *within]), node.stage.told or node.stage.name)


def _pictures(chain: Chain) -> Iterator[tuple[Path, list[str]]]:
    """Folder and names of the real pictures that lie ready; nothing where their captions cannot be read."""
    for node in chain.nodes.values():
        coco = node.inputs.get("coco")
        folder = _folder(coco) if isinstance(coco, Given) else None
        if isinstance(node.config, RealJob) and folder is not None:
            try:
                yield picture_files(node.config, folder)
            except UserError:
                continue


@contextmanager
def pictures_looked_at(chain: Chain) -> Iterator[Callable[[], None]]:
    """Looks at the other pictures in the background; what it yields raises UserError as soon as one is amiss."""
    unwanted, found = threading.Event(), list[str]()

    def look() -> None:
        for folder, names in _pictures(chain):
            for fault in picture_faults(folder, names[AT_ONCE:]):
                if fault or unwanted.is_set():
                    found.extend([fault] if fault else [])
                    return

    def alarm() -> None:
        if found:
            raise UserError(found[0])

    thread = threading.Thread(target=look, name="instaflow-pictures", daemon=True)
    thread.start()
    try:
        yield alarm
    finally:
        unwanted.set()
        thread.join()
