"""Imports go one way, heavy libraries wait, and nothing imports in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    *("status", "recipe", "store", "cluster", "chemistry", "candidates", "plan", "engine", "campaign", "results"),
    *("cli", "api", "__init__", "__main__"),
)
"""Modules and packages of the engine: each imports only what stands before it, for types too."""


def imported_modules(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_model_library_knows_nothing_of_the_engine():
    for path in (ROOT / "cgcnn").rglob("*.py"):
        roots = {name.partition(".")[0] for name in imported_modules(path)}
        assert not roots & {"screening", "dask", "distributed", "zarr"}, path.name


def test_the_packages_of_the_engine_import_only_downwards():
    root = ROOT / "screening"
    for path in root.rglob("*.py"):
        own = path.relative_to(root).parts[0].removesuffix(".py")
        for name in imported_modules(path):
            if name.startswith("screening.") and (other := name.split(".")[1]) in FLOORS and other != own:
                assert FLOORS.index(other) < FLOORS.index(own), f"{path.relative_to(ROOT)} imports {other}"


@pytest.mark.parametrize("command", ["screening", "cgcnn"])
def test_help_needs_no_heavy_library(command):
    heavy = "{'torch', 'pymatgen', 'dask', 'distributed', 'zarr', 'numpy', 'pydantic'}"
    code = f"import sys; import {command}.cli; print(sorted(set(sys.modules) & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
