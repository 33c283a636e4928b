"""Imports go one way, heavy libraries wait, and nothing imports in a circle."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = (
    *("status", "recipe", "store", "cluster", "chemistry", "candidates", "plan", "engine", "campaign", "results"),
    *("cli", "api", "__init__", "__main__"),
)
"""Modules and packages of the engine: each imports only what stands before it, for types too."""
LIBRARY = (
    *("errors", "machine", "elements", "files", "graphs", "network", "data", "models", "inference", "training"),
    *("testing", "cli", "__init__", "__main__"),
)
"""The same of the model library."""
NEED_TORCH = {"network/reference", "network/convolution", "network/norm", "network/tensors", "network/torch_kernel"} | {
    "models/published",
    "testing",
}
"""Modules of the model library, outside of `training` and its commands, that import torch with themselves."""


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


@pytest.mark.parametrize(("package", "floors"), [("screening", FLOORS), ("cgcnn", LIBRARY)])
def test_packages_import_only_downwards(package, floors):
    root = ROOT / package
    for path in root.rglob("*.py"):
        own = path.relative_to(root).parts[0].removesuffix(".py")
        for name in imported_modules(path):
            if name.startswith(f"{package}.") and (other := name.split(".")[1]) in floors and other != own:
                assert own not in floors or floors.index(other) < floors.index(own), f"{path} imports {other}"


@pytest.mark.parametrize("package", ["cgcnn", "screening"])
def test_no_module_imports_itself_through_others(package):
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / package).rglob("*.py")}
    found = {name: imported_modules(path) & paths.keys() for name, path in paths.items()}
    assert set(TopologicalSorter(found).static_order()) == paths.keys()


def test_predicting_modules_import_no_torch_with_themselves():
    root = ROOT / "cgcnn"
    for path in root.rglob("*.py"):
        name = path.relative_to(root).with_suffix("").as_posix()
        if name.split("/")[0] in {"training", "cli"}:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = {a.name for node in tree.body if isinstance(node, ast.Import) for a in node.names}
        modules |= {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert ("torch" in {str(module).split(".")[0] for module in modules}) == (name in NEED_TORCH), name


@pytest.mark.parametrize("command", ["screening", "cgcnn"])
def test_help_needs_no_heavy_library(command):
    heavy = "{'torch', 'pymatgen', 'dask', 'distributed', 'zarr', 'numpy', 'pydantic'}"
    code = f"import sys; import {command}.cli; print(sorted(set(sys.modules) & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
