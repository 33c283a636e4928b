"""Imports go one way, heavy libraries wait, and nothing imports in a circle."""

import ast
import graphlib
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TORCH = {  # who imports torch with itself; everybody else does so in the function that needs it, if at all
    "cgcnn.models.published",
    "cgcnn.network.reference",
    "cgcnn.network.torch_kernel",
    "cgcnn.testing",
    "cgcnn.training.distil",
    "cgcnn.training.fit",
    "cgcnn.training.members",
}


def load_architecture():
    spec = importlib.util.spec_from_file_location("architecture", ROOT / "docs/architecture.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


architecture = load_architecture()
KNOWN = architecture.modules("cgcnn") | architecture.modules("screening")
GRAPH = {name: architecture.imports(name, path, KNOWN) for name, path in KNOWN.items()}


def top_level_roots(path):
    """The libraries that a module imports when it is itself imported; what only types need does not count."""
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_every_subpackage_is_in_the_order():
    for package, subpackages in architecture.ORDER.items():
        there = {
            architecture.subpackage(name).removeprefix(f"{package}.")
            for name in KNOWN
            if name.startswith(f"{package}.")
        }
        assert there - {"__main__"} <= set(subpackages)


def test_subpackages_import_only_what_stands_before_them():
    floor = {}
    for package, subpackages in architecture.ORDER.items():
        lowest = 100 if package == "screening" else 0
        floor |= {f"{package}.{subpackage}": lowest + i for i, subpackage in enumerate(subpackages)}
        floor |= {f"{package}.__main__": lowest + 99, package: -1}
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if name not in architecture.ORDER  # the two `__init__` only forward
        and architecture.subpackage(name) != architecture.subpackage(other)
        and floor[architecture.subpackage(name)] <= floor[architecture.subpackage(other)]
    ]
    assert not wrong


def test_no_module_imports_in_a_circle():
    inner = {name: others - architecture.ORDER.keys() for name, others in GRAPH.items()}
    list(graphlib.TopologicalSorter(inner).static_order())  # raises CycleError


def test_the_model_library_knows_nothing_of_the_engine():
    for name, path in architecture.modules("cgcnn").items():
        source = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        modules = {n.module or "" for n in source if isinstance(n, ast.ImportFrom)} | top_level_roots(path)
        assert not {m.split(".")[0] for m in modules} & {"screening", "dask", "distributed", "zarr"}, name


def test_torch_is_imported_only_where_it_computes():
    assert {name for name, path in KNOWN.items() if "torch" in top_level_roots(path)} == TORCH


def test_only_the_command_line_prints():
    for name, path in KNOWN.items():
        if architecture.subpackage(name).endswith((".cli", ".__main__")):
            continue
        calls = (n.func for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Call))
        assert "print" not in {f.id for f in calls if isinstance(f, ast.Name)}, name
        assert "click" not in top_level_roots(path), name


@pytest.mark.parametrize("module", ["screening", "cgcnn", "screening.cli", "cgcnn.cli"])
def test_imports_of_the_surface_need_no_heavy_library(module):
    heavy = "{'torch', 'pymatgen', 'dask', 'distributed', 'zarr', 'numpy', 'pydantic', 'pandas', 'scipy', 'xarray'}"
    code = f"import sys; import {module}; print(sorted(set(sys.modules) & {heavy}))"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_the_page_on_the_architecture_names_files_that_exist():
    page = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:cgcnn|screening)/[\w/]+\.py)`", page)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_imports_in_scripts_pages_and_code_in_strings_exist():
    suffixes = {".py", ".md", ".ipynb", ".toml", ".sbatch"}
    folders = ("benchmarks", "cluster", "docs", "recipes", "tests")
    files = [*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    missing = []
    for path in files:
        if path.suffix not in suffixes:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        for module, names in re.findall(r"from ((?:cgcnn|screening)[\w.]*) import (\([^)]*\)|[^\n\\;\"']+)", text):
            found = KNOWN.get(module)
            code = "" if found is None else found.read_text(encoding="utf-8")
            wanted = [name.split(" as ")[0].strip() for name in re.sub(r"[()]|#.*", "", names).split(",")]
            missing += [
                f"{path.relative_to(ROOT)}: {module}.{name}"
                for name in wanted
                if re.fullmatch(r"\w+", name)
                and f"{module}.{name}" not in KNOWN
                and not re.search(rf"\b{name}\b", code)
            ]
    assert not missing
