"""Read the subpackages of both packages, and who imports whom, from the source, and draw `docs/architecture.svg`.

    python docs/architecture.py

`tests/test_imports.py` holds the source to the same order.
"""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
ORDER = {
    "cgcnn": [
        *("errors", "machine", "elements", "files"),
        *("graphs", "network", "data", "models", "inference", "training", "testing", "cli", "api"),
    ],
    "screening": [
        *("status", "recipe", "store", "cluster", "chemistry", "candidates", "plan"),
        *("engine", "campaign", "ranking", "export", "relax", "report", "explain", "cli", "api"),
    ],
}
"""The subpackages of each package. Each imports only those before it; `screening` may import all of `cgcnn`."""


def modules(package: str) -> dict[str, Path]:
    """Map the dotted name of every module of a package to its file; a folder's `__init__` has the folder's name."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = (path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for path in files)
    return {name.removesuffix(".__init__"): path for name, path in zip(names, files, strict=True)}


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Return the known modules that a file imports, wherever in it and for whatever purpose."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & known.keys() or {node.module}
    return (found & known.keys()) - {name}


def subpackage(name: str) -> str:
    """Return the subpackage of a module: `cgcnn.graphs.batch` is in `cgcnn.graphs`."""
    return ".".join(name.split(".")[:2])


def arrows() -> Counter[tuple[str, str]]:
    """Count the imports that lead from each subpackage to each other one."""
    known = modules("cgcnn") | modules("screening")
    pairs = (
        (subpackage(name), subpackage(other)) for name, path in known.items() for other in imports(name, path, known)
    )
    return Counter(pair for pair in pairs if pair[0] != pair[1])


def reduced(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Keep the pairs that do not follow from others: no other way leads from the first to the second."""

    def leads(start: str, end: str) -> bool:
        return any(b == end or leads(b, end) for a, b in pairs if a == start)

    return {(a, b) for a, b in pairs if not any(c != b and leads(c, b) for d, c in pairs if d == a)}


def draw(path: Path) -> None:
    """Draw the subpackages, lowest at the bottom, and the imports that do not follow from others."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6.5), layout="constrained")
    axes = figure.add_subplot()
    subpackages = {f"{package}.{name}": package for package, names in ORDER.items() for name in names}
    files = Counter(subpackage(name) for name in modules("cgcnn") | modules("screening"))
    names = [name for name in subpackages if files[name]]
    height = {name: sum(subpackages[other] == subpackages[name] for other in names[:i]) for i, name in enumerate(names)}
    side = {name: 2.0 * (subpackages[name] == "screening") for name in names}
    counts = {pair: count for pair, count in arrows().items() if set(pair) <= set(names)}
    for source, target in reduced(set(counts)):
        far = height[source] - height[target] > 1 and side[source] == side[target]
        bend = (-0.45 if side[source] else 0.45) * far
        style = {"arrowstyle": "-|>", "color": "#4878a8", "lw": 1.2, "shrinkA": 13, "shrinkB": 13}
        style |= {"connectionstyle": f"arc3,rad={bend}"}
        ends = (side[target], height[target]), (side[source], height[source])
        axes.annotate("", *ends, arrowprops=style)
    for name in names:
        text = name.split(".")[1] + (f" ({files[name]})" if files[name] > 1 else "")
        box = {"boxstyle": "round,pad=0.3", "fc": "white", "ec": "0.4"}
        axes.text(side[name], height[name], text, ha="center", va="center", fontsize=10, bbox=box)
    for x, package in ((0.0, "cgcnn"), (2.0, "screening")):
        axes.text(x, max(height.values()) + 0.9, package, ha="center", weight="bold", fontsize=12)
    axes.set(xlim=(-1.2, 3.2), ylim=(-0.7, max(height.values()) + 1.4))
    axes.axis("off")
    with rc_context({"svg.hashsalt": "architecture", "svg.fonttype": "none"}):
        figure.savefig(path, **({"metadata": {"Date": None}} if path.suffix == ".svg" else {}))


if __name__ == "__main__":
    draw(ROOT / "docs/architecture.svg")
