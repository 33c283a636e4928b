"""Imports go one way, heavy libraries wait, and nothing imports in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCREENING_LAYERS = (
    {
        "status",
        "terminal",
        "factors",
        "space",
        "radii",
        "ions",
        "chemistry",
        "sites",
        "structures",
        "filters",
        "recipe",
        "candidates",
        "defaults",
        "store",
        "versions",
        "notice",
        "cluster",
        "survey",
    },
    {"columns", "figures"},
    {"plan"},
    {"block"},
    {"composition_block", "structure_block"},
    {"score"},
    {"failures", "pipeline", "ledger", "ranking", "progress", "output", "listing", "share", "presentation"},
    {"state", "explain", "report"},
    {"campaign", "cli"},
    {"__main__"},
)


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


def test_the_modules_of_the_engine_import_only_downwards():
    layer = {name: number for number, names in enumerate(SCREENING_LAYERS) for name in names}
    for path in (ROOT / "screening").glob("*.py"):
        if path.stem == "__init__":
            continue
        for name in imported_modules(path):
            if name.startswith("screening.") and (other := name.split(".")[1]) in layer:
                assert layer[other] <= layer[path.stem], f"{path.stem} imports {other}"


@pytest.mark.parametrize("command", ["screening", "cgcnn"])
def test_help_needs_no_heavy_library(command):
    heavy = "{'torch', 'pymatgen', 'dask', 'distributed', 'zarr', 'numpy', 'pydantic'}"
    code = f"import sys; import {command}.cli; print(sorted(set(sys.modules) & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
