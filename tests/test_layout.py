"""Imports run one way, between folders of both levels, and never in a circle; what only reads stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from flows.algorithms import algorithms
from tests import ROOT

MAY_IMPORT = {
    "flows": {"flows", "tasks", "models", "infra"},
    "tasks": {"tasks", "models", "infra"},
    "models": {"models"},
    "infra": {"infra"},
}
ROOMS = {
    "flows": (
        "cli",
        "tracking",
        "dashboard",
        "observed",
        "deploy",
        "pipeline",
        "stage_flows",
        "run",
        "server",
        "recipes",
        "algorithms",
        "pace",
    ),  # fmt: skip
    "tasks": ("preflight", "rehearsal", "report", "evaluate", "train", "data", "stage", "share", "stages", "sections"),
    "models": ("pipelines", "clip", "perceptual", "mini", "judges"),
    "infra": ("pairs", "upkeep", "shards", "artifact", "store", "recipe"),
}
"""Of each package, the rooms that build on one another: one may import those that stand after it."""

EXCEPTIONS = {
    # the table says how much work an evaluation is, and what an evaluation consists of is told in one light module
    ("tasks.stages", "tasks.evaluate.cells"),
}
NOT_IN_MODELS = {"prefect", "yaml", "typer", "rich", "fsspec", "s3fs", "pydantic"}
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "prefect", "pandas", "open_clip", "lpips"}


def modules(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from (ROOT / package).rglob("*.py")


def name_of(path: Path) -> str:
    """The dotted name of a module; of a package for its `__init__`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, names: set[str], lazily: bool = True) -> set[str]:
    """The modules among `names` that a file imports; those within functions only if `lazily`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in ast.walk(tree) if lazily else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found & names


NAMES = {name_of(path): path for path in modules(*MAY_IMPORT)}
IMPORTS: Mapping[str, set[str]] = {name: imported(path, {*NAMES}) - {name} for name, path in NAMES.items()}


def _packages(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    whole = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in whole | parts}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    for path in modules(package):
        wrong = _packages(path) & (MAY_IMPORT.keys() - MAY_IMPORT[package])
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_rooms_build_on_one_another(package: str) -> None:
    rooms = ROOMS[package]
    for name in (name for name in NAMES if name.startswith(f"{package}.")):
        room = name.split(".")[1]
        before = rooms[: rooms.index(room)] if room in rooms else rooms
        for other in IMPORTS[name]:
            home, _, rest = other.partition(".")
            wrong = home == package and rest.partition(".")[0] in before and (name, other) not in EXCEPTIONS
            assert not wrong, f"{name} imports {other}, which builds on it"


def test_nothing_imports_in_a_circle() -> None:
    # a package's __init__ only gathers its modules: what imports the package imports those that it names
    try:
        TopologicalSorter(IMPORTS).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_no_algorithm_is_imported_by_name() -> None:
    for path in modules("flows", "tasks"):
        if path.parent.name != "algorithms":
            found = imported(path, {f"flows.algorithms.{name}" for name in algorithms()})
            assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_models_run_on_a_bare_machine() -> None:
    for path in modules("models"):
        assert not _packages(path) & NOT_IN_MODELS, path.relative_to(ROOT)


def test_nothing_outside_models_reaches_into_a_pipeline() -> None:
    parts = {"unet", "vae", "text_encoder", "tokenizer", "scheduler", "transformer"}
    for path in modules("flows", "tasks"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            reaches = isinstance(node, ast.Attribute) and node.attr in parts and isinstance(node.value, ast.Attribute)
            assert not (reaches and node.value.attr == "pipeline"), f"{path.relative_to(ROOT)}: .pipeline.{node.attr}"  # type: ignore[attr-defined,union-attr]


@pytest.mark.parametrize("path", sorted(modules(*MAY_IMPORT)), ids=lambda path: name_of(path))
def test_every_module_has_a_test_file_of_its_name(path: Path) -> None:
    inside = path.relative_to(ROOT)
    if path.name in ("__main__.py", "__init__.py") and not _functions(path):
        return
    name = inside.parent.name if path.name == "__init__.py" else path.stem
    assert (ROOT / "tests" / inside.parent / f"test_{name}.py").is_file()


def _functions(path: Path) -> bool:
    return any(isinstance(node, ast.FunctionDef) for node in ast.parse(path.read_text(encoding="utf-8")).body)


@pytest.mark.parametrize(
    "command",
    [
        ["plan", "tiny"],
        ["status"],
        ["artifacts", "ls"],
        ["artifacts", "gc"],
        ["dashboard", "--out", "site"],
        ["--help"],
    ],
)
def test_reading_commands_import_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests" / "flows")!r}]
from pathlib import Path
import small_stages
from flows.cli.app import main
small_stages.install(Path("weights"))
sys.argv = ["instaflow", *{command!r}]
try:
    main()
except SystemExit as end:
    assert not end.code, end
found = {HEAVY!r} & sys.modules.keys()
assert not found, found
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_cached_run_needs_no_torch() -> None:
    heavy = HEAVY - {"prefect"}
    code = f"import sys, flows.pipeline, flows.server.connection; assert not {heavy!r} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_embedded_weights_stay_small() -> None:
    weights = [path for path in (ROOT / "models" / "mini" / "weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in weights) <= 10_000_000
