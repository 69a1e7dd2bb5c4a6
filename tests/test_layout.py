"""Imports run one way, and commands that only read manifests import nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "flows": {"flows", "tasks", "models", "infra"},
    "tasks": {"tasks", "models", "infra"},
    "models": {"models"},
    "infra": {"infra"},
}
NOT_IN_MODELS = {"prefect", "yaml", "typer", "rich", "fsspec", "s3fs", "pydantic"}
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "prefect", "pandas", "open_clip", "lpips"}


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_run_one_way(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        wrong = {*_imports(path)} & (MAY_IMPORT.keys() - MAY_IMPORT[package])
        assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


def test_models_run_on_a_bare_machine() -> None:
    for path in (ROOT / "models").rglob("*.py"):
        assert not {*_imports(path)} & NOT_IN_MODELS, path.relative_to(ROOT)


@pytest.mark.parametrize(
    "command", [["plan", "tiny"], ["status"], ["artifacts", "ls"], ["artifacts", "gc"], ["--help"]]
)
def test_reading_commands_import_nothing_heavy(command: list[str], tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "tests" / "flows")!r})
from pathlib import Path
import small_stages
from flows.cli import main
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
    code = f"import sys, flows.pipeline, flows.connection; assert not {heavy!r} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_embedded_weights_stay_small() -> None:
    weights = [path for path in (ROOT / "models" / "mini" / "weights").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in weights) <= 10_000_000
